"""The composition root: settings in, real parts out. Whoever needs a ledger or an object store gets it here."""

from __future__ import annotations

from dataclasses import dataclass

from kaizen.config import Settings
from kaizen.storage.ledger import Ledger
from kaizen.storage.object_store import ObjectStore, open_store


@dataclass(frozen=True, slots=True)
class Workspace:
    """The durable state of an installation."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore


def open_workspace(settings: Settings) -> Workspace:
    """Open (and on first use create) the ledger and the object store that `settings` name."""
    settings.workspace.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Workspace(
        settings=settings,
        ledger=Ledger.open(settings.ledger, settings.ledger_url),
        store=open_store(settings.objects_uri, settings.objects.endpoint_url),
    )
