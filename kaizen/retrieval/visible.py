"""What callers of one kind see of a segment, and the statistics over it: computed once, not by every search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kaizen.records import Principal
from kaizen.retrieval.columns import Mask
from kaizen.retrieval.lexical import LexicalIndex, TermStatistics

# Counting a term's visible rows is a pass over its postings: below so many it is not worth remembering.
REMEMBERED_POSTINGS = 2_000
REMEMBERED_TERMS = 10_000
REMEMBERED_CALLERS = 16


@dataclass(frozen=True, eq=False)
class Visible:
    """Rows of a segment that a caller may see and that are alive.

    Attributes:
        lexical: of the segment.
        mask: (rows,) bool; None when all rows are visible, which spares every search the passes over it.
    """

    lexical: LexicalIndex
    mask: Mask | None
    _frequencies: dict[str, int] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, lexical: LexicalIndex, mask: Mask) -> Visible:
        """The rows of `mask`."""
        return cls(lexical, None if mask.all() else mask)

    @cached_property
    def rows(self) -> int:
        """How many."""
        return len(self.lexical.lengths) if self.mask is None else int(np.count_nonzero(self.mask))

    @cached_property
    def total_length(self) -> int:
        """Terms in them, repeats included."""
        return int(self.lexical.lengths.sum() if self.mask is None else self.lexical.lengths[self.mask].sum())

    def statistics(self, terms: Sequence[str]) -> TermStatistics:
        """What BM25 needs for `terms` over these rows."""
        frequencies = tuple(self._frequency(term) for term in terms)
        return TermStatistics(documents=self.rows, total_length=self.total_length, document_frequencies=frequencies)

    def _frequency(self, term: str) -> int:
        if self.mask is None or self.lexical.document_frequency(term) < REMEMBERED_POSTINGS:
            return self.lexical.document_frequency(term, self.mask)
        known = self._frequencies.get(term)
        if known is None:
            if len(self._frequencies) >= REMEMBERED_TERMS:
                self._frequencies.clear()
            self._frequencies[term] = known = self.lexical.document_frequency(term, self.mask)
        return known


class Callers:
    """The latest kinds of callers of a segment: those of one tenant and the same groups see the same. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, frozenset[str]], Visible] = {}

    def get(self, principal: Principal) -> Visible | None:
        """What is known for callers like this one."""
        return self._known.get(_kind(principal))

    def put(self, principal: Principal, visible: Visible) -> Visible:
        """Remember; of many kinds all are forgotten at once, and the next searches compute theirs."""
        if len(self._known) >= REMEMBERED_CALLERS:
            self._known = {}
        self._known[_kind(principal)] = visible
        return visible


def _kind(principal: Principal) -> tuple[str, frozenset[str]]:
    return principal.tenant, frozenset(principal.groups)
