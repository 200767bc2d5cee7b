"""The composition root: settings in, real parts out. Whoever needs a ledger or an object store gets it here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kaizen.config import Settings
from kaizen.errors import BadModel, NotFound
from kaizen.models.location import OBJECT, check_safe, locate
from kaizen.records import Release
from kaizen.storage.ledger import Ledger
from kaizen.storage.object_store import ObjectStore, holds, open_store


@dataclass(frozen=True, slots=True)
class Workspace:
    """The durable state of an installation."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore

    def model_path(self, reference: str) -> Path:
        """Return the file or directory of a model, checked to be safe to open.

        `object:NAME[/INNER]` is the directory NAME in the object store, every file verified against its sum, or what
        is INNER in it. Anything else is as in `location.locate`.

        Raises:
            BadModel: there is nothing there, or it is not safe to open.
            Corrupt: a file in the object store is missing, torn or changed.
        """
        if not reference.startswith(OBJECT):
            return locate(reference)
        name, inner = self._stored(reference)
        directory = self.store.fetch_directory(name)
        path = directory.joinpath(inner)
        if not path.exists() or not path.resolve().is_relative_to(directory.resolve()):
            raise BadModel(f"There is no model at {reference!r}.", advice="Restore the object store, or roll back.")
        check_safe(path)
        return path

    def release(self, named: str | None = None) -> Release:
        """The release of this name; without one the stable release. Raises NotFound."""
        name = named or self.ledger.rollout.current()
        if name is None:
            raise NotFound("There is no release yet.", advice="Run `kaizen up` or `python -m jobs.build_release`.")
        return self.ledger.releases.get(name)

    def _stored(self, reference: str) -> tuple[str, str]:
        """The directory that `reference` begins with, and the rest of it. A directory holds no other one."""
        parts = PurePosixPath(reference.removeprefix(OBJECT)).parts
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            if holds(self.store, name):
                return name, "/".join(parts[count:])
        raise BadModel(f"There is no model at {reference!r}.", advice="Restore the object store, or roll back.")


def open_workspace(settings: Settings) -> Workspace:
    """Open (and on first use create) the ledger and the object store that `settings` name."""
    settings.workspace.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Workspace(
        settings=settings,
        ledger=Ledger.open(settings.ledger, settings.ledger_url),
        store=open_store(settings.objects_uri, settings.objects.endpoint_url),
    )
