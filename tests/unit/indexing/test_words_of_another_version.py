"""What another version's analyser has read is refused, and the shard is read from the ledger again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaizen.config import IndexSettings
from kaizen.indexing.generation import GenerationStore
from kaizen.retrieval import analyser
from kaizen.retrieval import segment as segments
from kaizen.retrieval.shard import Shard, ShardChanges, State
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.object_store import open_store
from tests.unit.indexing.no_ledger import NoLedger
from tests.unit.retrieval.rows import document, segment


def test_a_shard_begins_anew_and_seals_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generations = GenerationStore(open_store(str(tmp_path)), "index/i/shard-000", NoLedger())
    old = segment(document("d", "pump"))
    generations.save(View(1, (LiveSegment(old, np.ones(old.rows, bool), sealed=True),)), old)
    monkeypatch.setattr(segments, "VERSION", analyser.VERSION + 1)
    loaded = generations.load()
    assert (loaded.view, len(loaded.refused)) == (View(0, ()), 1)
    shard = Shard(IndexSettings(seal_seconds=1), seals=True)
    shard.loaded(loaded.view, ledger_head=1)
    assert shard.state is State.CATCHING_UP
    new = segment(document("d", "pump"))
    shard.changed(ShardChanges(1, (("acme", "d"),), new), now=0)
    assert shard.state is State.SERVING
    generations.save(shard.view, new)
    again = generations.load()
    assert (again.view.seq, again.view.rows, again.refused) == (1, old.rows, ())
