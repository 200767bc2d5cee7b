"""A view of a shard: what one search sees from start to end. Immutable; the next view shares what did not change.

Applying changes copies the alive masks of the segments that they touch and nothing else, so a search never waits for
a write, and never sees a document twice or not at all while it is being replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kaizen.records import Principal
from kaizen.retrieval.segment import Segment, document_key
from kaizen.retrieval.visible import Callers, Visible


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment with its tombstones. `sealed`: it lies in the object store; otherwise it is part of the head."""

    segment: Segment
    alive: np.ndarray  # (rows,) bool
    sealed: bool
    _callers: Callers = field(default_factory=Callers, repr=False, compare=False)

    def visible_to(self, principal: Principal) -> Visible:
        """What the caller sees of it; remembered, for this object never changes."""
        known = self._callers.get(principal)
        if known is None:
            mask = self.alive & self.segment.visible(principal)
            known = self._callers.put(principal, Visible.of(self.segment.lexical, mask))
        return known

    @property
    def rows_alive(self) -> int:
        return int(np.count_nonzero(self.alive))


@dataclass(frozen=True, slots=True)
class View:
    """The shard's documents as of `seq`."""

    seq: int
    segments: tuple[LiveSegment, ...]

    @property
    def rows(self) -> int:
        """Chunks alive."""
        return sum(live.rows_alive for live in self.segments)

    @property
    def head(self) -> tuple[LiveSegment, ...]:
        return tuple(live for live in self.segments if not live.sealed)

    def by_name(self) -> dict[str, Segment]:
        """Its segments by their names."""
        return {live.segment.name: live.segment for live in self.segments}

    def make_ready(self, before: View) -> None:
        """Let filters that were asked under the view before find their columns here."""
        fields = {field for live in before.segments for field in live.segment.fields()}
        for live in self.segments:
            live.segment.make_ready(fields)

    def documents(self) -> int:
        """Documents alive."""
        return sum(len(np.unique(live.segment.keys[live.alive])) for live in self.segments)

    def apply(self, seq: int, replaced: Iterable[tuple[str, str]], added: Segment | None) -> View:
        """The view at `seq`: the (tenant, document id) pairs in `replaced` go, the rows of `added` come."""
        keys = np.array([document_key(tenant, name) for tenant, name in replaced], np.uint64)
        segments = tuple(_bury(live, keys) for live in self.segments) if len(keys) else self.segments
        fresh = (LiveSegment(added, np.ones(added.rows, bool), sealed=False),) if added is not None else ()
        return View(seq, (*segments, *fresh))

    def exchange(self, old: Sequence[LiveSegment], merged: Segment | None, *, sealed: bool) -> View:
        """The view in which `merged` stands for `old`, made from the rows that were alive in `old`.

        Rows that died since `old` was looked at are dead in the new segment too.
        """
        names = {live.segment.name for live in old}
        now = {live.segment.name: live for live in self.segments}
        kept = tuple(live for live in self.segments if live.segment.name not in names)
        if merged is None:
            return View(self.seq, kept)
        alive = np.concatenate([now[live.segment.name].alive[live.alive] for live in old])
        return View(self.seq, (LiveSegment(merged, alive, sealed=sealed), *kept))


def _bury(live: LiveSegment, keys: np.ndarray) -> LiveSegment:
    rows = live.segment.rows_of(keys)
    if not live.alive[rows].any():
        return live
    alive = live.alive.copy()
    alive[rows] = False
    return LiveSegment(live.segment, alive, live.sealed)
