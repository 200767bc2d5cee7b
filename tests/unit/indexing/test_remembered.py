"""Copies of a shard that ask for the same documents get the same rows; a refusal is not for ever."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from unittest.mock import Mock

import numpy as np
import pytest

from kaizen.errors import StorageFull
from kaizen.indexing.prepare import Prepared
from kaizen.indexing.remembered import REFUSED_SECONDS, REMEMBERED_DOCUMENTS, Remembered
from kaizen.records import Chunk, Document
from kaizen.retrieval.chunk_table import chunk_table, with_vectors
from tests.unit.retrieval.rows import DIM, document


@dataclass
class Model:
    """Embeds what is not about valves, unless it is well; keeps what it was asked, what was told, and the time."""

    well: bool = False
    asked: list[str] = field(default_factory=list)
    told: list[tuple[str, bool]] = field(default_factory=list)
    now: float = 0.0

    def prepare(self, documents: Sequence[Document]) -> Prepared:
        self.asked += [d.id for d in documents]
        refused = frozenset((d.tenant, d.id) for d in documents if "valve" in d.text and not self.well)
        kept = [d for d in documents if (d.tenant, d.id) not in refused]
        table = chunk_table(kept, [[chunk_of(d)] for d in kept])
        return Prepared(with_vectors(table, np.ones((len(kept), DIM), np.float32)), refused)

    def tell(self, documents: Sequence[Document], refused: Set[tuple[str, str]]) -> None:
        self.told += [(d.id, (d.tenant, d.id) in refused) for d in documents]


def chunk_of(one: Document) -> Chunk:
    return Chunk(document_id=one.id, ordinal=0, text=one.text, start=0, end=len(one.text), tokens=1)


def ids(remembered: Remembered, *documents: Document) -> list[str]:
    return list(remembered.rows(documents).column("document_id").to_pylist())


def test_each_document_is_embedded_once_for_all_copies() -> None:
    model = Model()
    remembered = Remembered(model.prepare, model.tell)
    both = document("a", "the pump"), document("b", "the belt")
    assert ids(remembered, *both) == ids(remembered, *both) == ["a", "b"]
    assert model.asked == ["a", "b"]
    assert ids(remembered, document("a", "another pump")) == ["a"]
    assert model.asked == ["a", "b", "a"]


def test_where_nobody_can_be_told_nothing_is_embedded_again() -> None:
    model = Model()
    tell = Mock(side_effect=[StorageFull("No room."), None])
    remembered = Remembered(model.prepare, tell)
    bad = document("b", "the valve")
    with pytest.raises(StorageFull):
        remembered.rows([bad])
    assert ids(remembered, bad) == []
    assert model.asked == ["b"]
    assert [refused for _, refused in (call.args for call in tell.call_args_list)] == [{(bad.tenant, "b")}] * 2


def test_only_the_newest_are_kept() -> None:
    model = Model()
    remembered = Remembered(model.prepare, model.tell)
    many = [document(f"d{number}", "a pump") for number in range(REMEMBERED_DOCUMENTS + 1)]
    remembered.rows(many)
    remembered.rows([many[-1]])
    remembered.rows([many[0]])
    assert model.asked[-2:] == [many[-1].id, many[0].id]


def test_a_refusal_is_the_same_for_all_copies_and_not_for_ever() -> None:
    model = Model()
    remembered = Remembered(model.prepare, model.tell, lambda: model.now)
    bad = document("b", "the valve")
    assert ids(remembered, bad) == []
    model.well = True
    assert ids(remembered, bad) == [], "the other copy has to lack it, too"
    assert model.told == [("b", True)] * 2, "it may have been deleted and written again, which takes it out"
    model.now += REFUSED_SECONDS
    assert ids(remembered, bad) == ["b"]
    assert model.told[-1] == ("b", False)
