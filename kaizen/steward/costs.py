"""What learning may cost: CPU seconds to expect of a rung, from what it took in past turns with all that it entails.

A rung costs what it takes to learn and to judge. One that brings an index of its own costs, besides, to embed all
documents that there are: that grows with them, so it is reckoned from their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from kaizen.steward.state import Attempt

# Until a turn has tried a rung: CPU seconds of learning and judging on a small machine.
FIRST_ESTIMATES: Mapping[int, float] = {0: 120, 1: 60, 2: 900, 3: 7200, 4: 14_400}
NEW_INDEX = 3  # the rung whose candidates search another index
# Until an index or an ingest was measured here: three chunks, each of .036 in a slow hour of two shared cores.
FIRST_DOCUMENT_ESTIMATE = 0.1
_NEWEST = 5


def estimates(attempts: Sequence[Attempt], index_cpu_s: float = 0.0) -> dict[int, float]:
    """Return the CPU seconds that each rung may take: the median of its last attempts, and the index it needs.

    Args:
        attempts: of past turns and the open one, the newest first.
        index_cpu_s: what `index_estimate` says.
    """
    found = {rung: _median(_learnt_and_judged(attempts, rung), first) for rung, first in FIRST_ESTIMATES.items()}
    return {**found, NEW_INDEX: found[NEW_INDEX] + index_cpu_s}


def index_estimate(documents: int, attempts: Sequence[Attempt], ingested: Sequence[tuple[int, float]]) -> float:
    """Return the CPU seconds that an index of so many documents may take.

    As the last ones did; before there was one, as ingest did, which embeds too.

    Args:
        attempts: the newest first.
        ingested: documents and CPU seconds of runs of ingest.
    """
    built = [one.index_cpu_s / one.documents for one in attempts if one.index_cpu_s and one.documents]
    taken = sum(count for count, _ in ingested)
    first = sum(cpu_s for _, cpu_s in ingested) / taken if taken else FIRST_DOCUMENT_ESTIMATE
    return documents * _median(built, first)


def _learnt_and_judged(attempts: Sequence[Attempt], rung: int) -> list[float]:
    """Without the index. What was left out after it was learnt counts, too: it says what learning takes."""
    return [one.cpu_s - one.index_cpu_s for one in attempts if one.rung == rung and _came_to_its_end(one)]


def _came_to_its_end(attempt: Attempt) -> bool:
    """Not so what failed, is under way, or learnt nothing and so was never judged."""
    return attempt.verdict not in (None, "failed") and attempt.release != attempt.parent


def _median(costs: Sequence[float], first: float) -> float:
    return median(costs[:_NEWEST]) if costs else first
