"""The life of one shard as a state machine: events come in, the next instruction goes out. No threads, no I/O.

    LOADING -> CATCHING_UP -> SERVING -> RETIRED

A shard serves once it has applied everything that the ledger held when it was loaded: before that its answers would
silently lack acknowledged documents. The actor around it (actors/index_shard.py) carries out the instructions and
feeds back what came of them; a unit test drives the same machine without Ray.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from kaizen.config import IndexSettings
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import LiveSegment, View

# Head segments of like size are merged when this many stand side by side: every row is merged log4(rows) times.
TIER = 4
# A sealed segment with more dead rows than this share is rewritten, which also removes the deleted texts.
DEAD_SHARE = 0.3
# What is sealed takes along sealed segments of up to so many times its own rows: each segment costs every search a
# millisecond, and so there are few. While all are small enough to be flat, merging is a copy; later an index is built.
GROWTH = 8
INDEXED_GROWTH = 3
# Without a change for so many times `seal_seconds`, a shard makes one segment of all if the smaller ones are together
# at least this share of the largest. To write a row again costs less than a hundredth of embedding it, so that where
# a shard grows in portions of this share, a quarter is added to what its rows cost.
QUIET = 3
COMPACTED_SHARE = 1 / 32


class State(Enum):
    LOADING = "loading"
    CATCHING_UP = "catching up"
    SERVING = "serving"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Tidy:
    """Merge `parts` of the head in memory: fewer segments to search."""

    view: View
    parts: tuple[LiveSegment, ...]


@dataclass(frozen=True, slots=True)
class Seal:
    """Merge `parts`, the whole head among them, write the result to the object store and move the pointer.

    `parts` is empty when only tombstones are new, and in the first generation of a shard without documents.
    """

    view: View
    parts: tuple[LiveSegment, ...]


Instruction = Tidy | Seal


@dataclass(frozen=True, slots=True)
class ShardChanges:
    """What the ledger's changes up to `seq` mean for this shard: documents that go, rows that come."""

    seq: int
    replaced: tuple[tuple[str, str], ...]
    added: Segment | None


class Shard:
    """Decides; never acts. Not thread-safe: the caller serialises events. Reading `view` needs no lock.

    Args:
        settings: when to seal and merge.
        seals: whether this replica is the one that writes to the object store.
    """

    def __init__(self, settings: IndexSettings, *, seals: bool) -> None:
        self._settings = settings
        self._seals = seals
        self._target = 0
        self._dirty_since: float | None = None
        self._changed_at: float | None = None
        self._since: list[ShardChanges] = []  # of a copy that does not seal: what no generation holds yet
        self._generation_seq = 0
        self.state = State.LOADING
        self.view = View(0, ())

    def loaded(self, view: View, ledger_head: int) -> None:
        """The last generation is in memory; the shard serves when it has applied `ledger_head`."""
        self.view = view
        self._generation_seq = view.seq
        self._target = ledger_head
        self.state = State.CATCHING_UP
        self._maybe_serve()

    def changed(self, changes: ShardChanges, now: float) -> None:
        """Changes were read from the ledger. Older ones than the view's are known already and ignored."""
        if self.state is State.RETIRED or changes.seq <= self.view.seq:
            return
        self._changed_at = now
        if changes.replaced or not self._generation_seq:  # without a generation nobody could tell empty from lost
            self._dirty_since = now if self._dirty_since is None else self._dirty_since
        self.view = self.view.apply(changes.seq, changes.replaced, changes.added)
        if not self._seals:
            self._remember(changes)
        self._maybe_serve()

    def adopted(self, generation: View) -> bool:
        """Another copy has sealed `generation`: it takes the place of what this one made of the same changes.

        So only one copy merges and builds, and copies on one machine share what lies in files. False for one that is
        older than what was adopted before.
        """
        if self._seals or generation.seq < self._generation_seq:
            return False
        self._generation_seq = generation.seq
        self._since = [changes for changes in self._since if changes.seq > generation.seq]
        view = generation
        for changes in self._since:
            view = view.apply(changes.seq, changes.replaced, changes.added)
        self.view = view
        self._maybe_serve()
        return True

    def tidied(self, done: Tidy, merged: Segment | None) -> None:
        """The parts of `done` are one segment of the head now."""
        self.view = self.view.exchange(done.parts, merged, sealed=False)

    def sealed(self, done: Seal, merged: Segment | None, now: float) -> None:
        """The generation of `done.view.seq` is durable and current; what came since waits for the next one."""
        if done.parts:
            self.view = self.view.exchange(done.parts, merged, sealed=True)
        self._generation_seq = done.view.seq
        self._dirty_since = None if self.view.seq == done.view.seq else now

    def retire(self) -> None:
        """No more changes, no more answers."""
        self.state = State.RETIRED

    def next(self, now: float) -> Instruction | None:
        """The maintenance that is due at monotonic time `now` (seconds), if any."""
        if self.state not in (State.CATCHING_UP, State.SERVING):
            return None
        if self._seals and self._seal_is_due(now):
            return Seal(self.view, self._parts_to_seal())
        if self._seals and self._compaction_is_due(now):
            return Seal(self.view, self.view.segments)
        parts = _crowded_tier(self.view.head)
        return Tidy(self.view, parts) if parts else None

    def _remember(self, changes: ShardChanges) -> None:
        """Runs of changes that mean nothing to this shard count as one."""
        if self._since and not self._since[-1].replaced and not changes.replaced:
            self._since.pop()
        self._since.append(changes)

    def _maybe_serve(self) -> None:
        if self.state is State.CATCHING_UP and self.view.seq >= self._target:
            self.state = State.SERVING

    def _seal_is_due(self, now: float) -> bool:
        if self._dirty_since is None:
            return False
        rows = sum(live.segment.rows for live in self.view.head)
        return rows >= self._settings.seal_rows or now - self._dirty_since >= self._settings.seal_seconds

    def _compaction_is_due(self, now: float) -> bool:
        if self._dirty_since is not None or self._changed_at is None or len(self.view.segments) < 2:
            return False
        if now - self._changed_at < QUIET * self._settings.seal_seconds:
            return False
        rows = sorted(live.rows_alive for live in self.view.segments)
        return sum(rows[:-1]) >= COMPACTED_SHARE * rows[-1]

    def _parts_to_seal(self) -> tuple[LiveSegment, ...]:
        sealed = sorted((s for s in self.view.segments if s.sealed), key=lambda s: s.rows_alive)
        along = self._taken_along(sealed)
        left = len(sealed) - along
        surplus = left - self._settings.max_segments // 2 if left >= self._settings.max_segments else 0
        whole = along + max(surplus, 0)
        rewrite = [s for s in sealed[whole:] if s.rows_alive < (1 - DEAD_SHARE) * s.segment.rows]
        return (*sealed[:whole], *rewrite, *self.view.head)

    def _taken_along(self, sealed: Sequence[LiveSegment]) -> int:
        """How many of `sealed`, smallest first, grow together with the head."""
        rows = sum(live.rows_alive for live in self.view.head)
        for number, live in enumerate(sealed):
            growth = GROWTH if rows + live.rows_alive <= self._settings.flat_max_rows else INDEXED_GROWTH
            if live.rows_alive > growth * rows:
                return number
            rows += live.rows_alive
        return len(sealed)


def _crowded_tier(head: Sequence[LiveSegment]) -> tuple[LiveSegment, ...]:
    """Segments of the head that are of one size class, when there are TIER of them or more."""
    tiers: dict[int, list[LiveSegment]] = defaultdict(list)
    for live in head:
        tiers[int(np.log(max(live.segment.rows, 1)) / np.log(TIER))].append(live)
    crowded = [members for _, members in sorted(tiers.items()) if len(members) >= TIER]
    return tuple(crowded[0]) if crowded else ()


def merge_parts(parts: Sequence[LiveSegment], settings: IndexSettings) -> Segment | None:
    """One segment of the rows alive in `parts`; None when nothing is alive."""
    living = [live for live in parts if live.rows_alive]
    if not living:
        return None
    pairs = [(live.segment, live.alive) for live in living]
    return Segment.merge(pairs, settings)
