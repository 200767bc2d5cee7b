"""An installation whose releases have come and gone, and an object store in which something happens meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kaizen.collect import Collected, collect
from kaizen.config import Settings
from kaizen.indexing.generation import GenerationStore
from kaizen.records import Release
from kaizen.retrieval.view import LiveSegment, View
from kaizen.rollout import promote
from kaizen.storage.object_store import ObjectStore
from kaizen.workspace import Workspace, open_workspace
from tests.unit.indexing.no_ledger import NoLedger
from tests.unit.retrieval.rows import document, segment

HOUR = 3600.0


class Killed(BaseException):
    """As kill -9: nothing after it is done."""


@dataclass(slots=True)
class Store:
    """The object store, with something that happens before one of the changes to it."""

    real: ObjectStore
    before: Callable[[int, str], None] = lambda _count, _verb: None
    changes: int = 0

    def __getattr__(self, verb: str) -> Any:  # noqa: ANN401 (whatever the store has)
        if verb not in ("delete", "write_pointer", "put_directory"):
            return getattr(self.real, verb)

        def change(*arguments: object) -> Any:  # noqa: ANN401
            self.before(self.changes, verb)
            self.changes += 1
            return getattr(self.real, verb)(*arguments)

        return change


@dataclass(slots=True)
class Place:
    """An installation whose release `retired` went out of service; its index and that of `stable` are in the store."""

    workspace: Workspace
    retired: Release
    stable: Release
    now: float = field(default_factory=time.time)

    def after(self, hours: float, store: Any = None, **options: bool) -> Collected:  # noqa: ANN401
        workspace = replace(self.workspace, store=store) if store else self.workspace
        return collect(workspace, self.now + hours * HOUR, **options)

    def shard(self, release: Release) -> GenerationStore:
        return GenerationStore(self.workspace.store, f"{index(release)}/shard-000", NoLedger())

    def promote(self, release: Release) -> None:
        state = self.workspace.ledger.rollout.state()
        self.workspace.ledger.rollout.change(promote(state, release.id), by="test", kind="promote", reason="")

    def objects(self) -> list[str]:
        return self.workspace.store.list()


def index(release: Release) -> str:
    return f"index/{release.parts['index']['fingerprint'][:12]}"


def sealed(seq: int, *names: str) -> View:
    made = [segment(document(name, "A pump. A valve")) for name in names]
    return View(seq, tuple(LiveSegment(one, np.ones(one.rows, bool), sealed=False) for one in made))


def opened(directory: Path) -> Workspace:
    return open_workspace(Settings.model_validate({"workspace": {"directory": directory}}))
