"""How much of the demonstrations one identity may have: as much as of the clicks, in a team that is not small."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kaizen.learning.demonstrations import Demonstration, Trust
from kaizen.learning.identities import MOST_SHARE, capped
from kaizen.learning.splits import HELD_OUT

Who = tuple[str, str]  # (tenant, identity)
# Of fewer people nobody can tell who floods from who edits: one of three, who wrote 100 of 102 corrections, would be
# cut to what the others wrote.
FEW = 10


@dataclass(frozen=True, slots=True)
class Shares:
    """What each identity may have.

    Attributes:
        factors: from 0 to 1, by which its trust counts.
        questions: how many held-out ones may want its answer, of an identity that is cut down. Whoever knows the hash
            of the split could have all its questions there.
    """

    factors: Mapping[Who, float]
    questions: Mapping[Who, int]

    @classmethod
    def of(cls, rows: Sequence[Demonstration]) -> Shares:
        """The shares of those who made these demonstrations."""
        part = Counter((row.tenant, who) for row in rows for who in row.carried_by)
        if len(part) < FEW:
            return cls(_of_all(part), {})
        factors = dict(zip(part, capped(np.array(list(part.values()), np.float64)).tolist(), strict=True))
        own = Counter(who for who, _ in {(who, row.query_id) for row in rows for who in _wanting(row)})
        cut = {who: factors[who] * many for who, many in own.items() if factors.get(who, 1.0) < 1}
        return cls(factors, {who: max(1, int(HELD_OUT * many)) for who, many in cut.items()})

    def trust(self, trust: Trust) -> Trust:
        """`trust`, with nobody above its share."""
        return lambda tenant, identity: trust(tenant, identity) * self.factors.get((tenant, identity), 1.0)

    def rationed(self, rows: Iterable[Demonstration]) -> list[Demonstration]:
        """Those of held-out demonstrations, ordered by query, that somebody has a question left for."""
        asked: defaultdict[Who, set[str]] = defaultdict(set)
        kept = []
        for row in rows:
            able = [who for who in _wanting(row) if self._may(who, asked[who], row.query_id)]
            for who in able:
                asked[who].add(row.query_id)
            if able:
                kept.append(row)
        return kept

    def _may(self, who: Who, asked: set[str], query_id: str) -> bool:
        return query_id in asked or len(asked) < self.questions.get(who, len(asked) + 1)


def _of_all(part: Mapping[Who, int]) -> dict[Who, float]:
    """Factors by which nobody counts for more than twice an even share of all that was written."""
    most = max(MOST_SHARE, 2 / max(1, len(part))) * sum(part.values())
    return {who: min(1.0, most / many) for who, many in part.items()}


def _wanting(row: Demonstration) -> list[Who]:
    return [(row.tenant, who) for who in sorted(row.chosen_by)]
