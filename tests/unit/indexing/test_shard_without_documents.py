"""A shard to which no document falls: it says so once, durably, so that nobody waits for it."""

from __future__ import annotations

from pathlib import Path

from kaizen.config import IndexSettings
from kaizen.indexing.generation import GenerationStore
from kaizen.offline import OfflineIndex
from kaizen.retrieval.shard import Seal, Shard, ShardChanges
from kaizen.retrieval.view import View
from kaizen.storage.object_store import open_store
from tests.unit.indexing.no_ledger import NoLedger

SETTINGS = IndexSettings(seal_seconds=20)


def _elsewhere(shard: Shard, seq: int, now: float) -> None:
    """Documents of other shards were written."""
    shard.changed(ShardChanges(seq, (), None), now)


def test_it_seals_once_that_it_has_none(tmp_path: Path) -> None:
    generations = GenerationStore(open_store(str(tmp_path)), "index/one/shard-001", NoLedger())
    shard = Shard(SETTINGS, seals=True)
    shard.loaded(generations.load().view, ledger_head=2)
    assert shard.next(now=1e9) is None, "there is nothing to tell yet"
    _elsewhere(shard, 1, now=0)
    _elsewhere(shard, 2, now=5)
    assert shard.next(now=19) is None
    due = shard.next(now=20)
    assert due == Seal(View(2, ()), ())
    generations.save(due.view, None)
    shard.sealed(due, None, now=20)
    _elsewhere(shard, 3, now=21)
    assert shard.next(now=1e9) is None, "once is enough"
    again = Shard(SETTINGS, seals=True)
    again.loaded(generations.load().view, ledger_head=2)
    _elsewhere(again, 3, now=0)
    assert (again.view.seq, again.next(now=1e9)) == (3, None)


def test_nothing_can_be_read_of_it_without_a_complaint() -> None:
    index = OfflineIndex({0: View(3, ())}, 1, ())
    assert index.coverage == 1
    assert index.rows(["text", "ordinal"]).column_names == ["text", "ordinal"]
    assert (index.rows(["text"]).num_rows, index.vectors().size) == (0, 0)
