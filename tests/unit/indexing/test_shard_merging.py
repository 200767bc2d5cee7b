"""How many segments a shard has as it grows, and how often it writes a row again to have so few."""

from __future__ import annotations

import numpy as np

from kaizen.config import IndexSettings
from kaizen.records import FieldType
from kaizen.retrieval.filters import parse
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.shard import QUIET, Seal, Shard, ShardChanges, merge_parts
from kaizen.retrieval.view import LiveSegment, View
from tests.unit.retrieval.rows import document, segment

SETTINGS = IndexSettings(kind="flat", flat_max_rows=16, seal_rows=4, seal_seconds=10)
FIELD: tuple[str, FieldType] = ("year", "number")


class Life:
    """A shard that seals at once; `written`: rows of all segments that it sealed."""

    def __init__(self) -> None:
        self.shard = Shard(SETTINGS, seals=True)
        self.shard.loaded(View(0, ()), 0)
        self.written = 0

    def grow(self, batches: int) -> None:
        for seq in range(self.shard.view.seq + 1, self.shard.view.seq + 1 + batches):
            names = [f"d{seq}-{n}" for n in range(4)]
            keys = tuple(("acme", name) for name in names)
            self.shard.changed(ShardChanges(seq, keys, self._segment(names)), now=0)
            self.maintain(now=0)

    def maintain(self, now: float) -> None:
        while (due := self.shard.next(now)) is not None:
            merged = merge_parts(due.parts, SETTINGS)
            assert isinstance(due, Seal) and merged is not None
            self.written += merged.rows
            self.shard.sealed(due, merged, now)

    @staticmethod
    def _segment(names: list[str]) -> Segment:
        return segment(*(document(name, "pump") for name in names))


def test_a_growing_shard_has_few_segments_and_writes_each_row_a_few_times() -> None:
    life = Life()
    most = 0
    for _ in range(150):
        life.grow(1)
        most = max(most, len(life.shard.view.segments))
    assert life.shard.view.rows == 600
    assert most <= 5
    assert life.written <= 12 * 600


def test_filters_that_were_asked_find_their_columns_in_what_comes_after() -> None:
    """In a merged segment, and in the generation that another copy has sealed."""
    condition, types = parse({"field": "year", "equals": 2001}), {"year": FIELD[1]}
    old = [segment(document(name, "pump", year=year)) for name, year in (("a", 2000), ("b", 2001))]
    assert old[1].matching(condition, types).tolist() == [True]
    merged = merge_parts([LiveSegment(part, np.ones(1, bool), sealed=True) for part in old], SETTINGS)
    assert merged is not None and merged.fields() == {FIELD}
    assert merged.matching(condition, types).tolist() == [False, True]
    fresh = View(2, (LiveSegment(segment(document("c", "pump", year=2002)), np.ones(1, bool), sealed=True),))
    fresh.make_ready(View(1, (LiveSegment(merged, np.ones(2, bool), sealed=True),)))
    assert fresh.segments[0].segment.fields() == {FIELD}


def test_a_shard_that_is_left_alone_becomes_one_segment() -> None:
    life = Life()
    life.grow(next(n for n in range(6, 40) if _segments_after(n) > 1))
    life.maintain(now=QUIET * SETTINGS.seal_seconds - 1)
    assert len(life.shard.view.segments) > 1
    life.maintain(now=QUIET * SETTINGS.seal_seconds)
    assert len(life.shard.view.segments) == 1


def _segments_after(batches: int) -> int:
    life = Life()
    life.grow(batches)
    sizes = sorted(live.rows_alive for live in life.shard.view.segments)
    return len(sizes) if sum(sizes[:-1]) * 8 >= sizes[-1] else 1
