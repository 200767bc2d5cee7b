"""What was sealed is read from its files: the same answers, without the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaizen.indexing.generation import GenerationStore
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.vectors import Kind
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.object_store import open_store
from tests.unit.indexing.no_ledger import NoLedger
from tests.unit.retrieval.rows import document, segment, vector


def _answers(one: Segment) -> tuple[list[object], list[int], list[int]]:
    terms = ["pump", "valve"]
    words, _ = one.lexical.top(terms, one.lexical.statistics(terms), None, 5, k1=1.2, b=0.75)
    return one.table.to_pylist(), one.vectors.top(vector("pump"), 5, None)[0].tolist(), words.tolist()


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_a_sealed_segment_answers_from_its_files_as_it_did_from_memory(kind: Kind, tmp_path: Path) -> None:
    fresh = segment(*(document(f"d{n}", f"pump {n}. valve {n}. belt") for n in range(20)), kind=kind)
    before = _answers(fresh)
    view = View(1, (LiveSegment(fresh, np.ones(fresh.rows, bool), sealed=True),))
    GenerationStore(open_store(str(tmp_path)), "index/i/shard-000", NoLedger()).save(view, fresh)
    assert not fresh.vectors.vectors.flags.owndata and not fresh.lexical.rows.flags.owndata
    assert _answers(fresh) == before
