"""When the steward's process ends by itself, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from actors import background, steward
from actors.steward import Steward
from kaizen.config import Settings
from kaizen.errors import StorageFull, WriterStopped
from kaizen.steward.guard import Guard
from kaizen.steward.keeper import Keeper
from kaizen.storage.ledger.group_commit import GroupCommit


@pytest.mark.parametrize("thread", ["_keep", "_watch"])
def test_a_full_disk_is_asked_again_and_a_writer_that_has_stopped_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    threads: dict[str, Callable[[], None]] = {}
    monkeypatch.setattr(steward, "run_in_background", lambda task: threads.update({task.__name__: task}))
    monkeypatch.setattr(background, "LAST_SECONDS", 0.01)
    for hands in (Keeper, Guard):  # each does nothing but write
        monkeypatch.setattr(hands, "tick", lambda self: self._ledger.turns.pause(True) is None)
    Steward(Settings.model_validate({"workspace": {"directory": tmp_path}, "learning": {"poll_seconds": 0.01}}))
    outcomes = [None, StorageFull("No room."), None, WriterStopped("A sync failed.")]
    stored = Mock(side_effect=outcomes)
    monkeypatch.setattr(GroupCommit, "_store", stored)
    with pytest.raises(WriterStopped):
        threads[thread]()  # what it raises ends the process: see `run_in_background`
    assert stored.call_count == len(outcomes)
