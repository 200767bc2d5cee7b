"""A stretch of traffic, boiled down to what drift shows in.

A click takes its time. So a search is counted once it is as old as the patience, and a click on it counts when it came
within the patience: the newest searches do not seem to be disliked, and old ones have no more time than new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from kaizen.answering.answer import NOT_IN_DOCUMENTS
from kaizen.evaluation.observed import Key, patience
from kaizen.records import Feedback, Impression


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was asked and found between two impressions.

    Attributes:
        first, last: `seq` of its impressions' ends.
        queries: distinct ones, in the order in which they first came: one that is asked a hundred times is one.
        cosines: of the best chunk of each of `queries`, the first time that it was asked; None ones are left out.
        patience_s: seconds that a click had to come in.
        unclicked, searches: searches of that age that showed something and were not clicked on in time, of how many.
        abstained, answers; thumbs_down, thumbs: likewise, of any age.
    """

    first: int
    last: int
    queries: tuple[str, ...]
    cosines: tuple[float, ...]
    patience_s: float
    unclicked: int
    searches: int
    abstained: int
    answers: int
    thumbs_down: int
    thumbs: int


def window_of(
    impressions: Sequence[tuple[int, Impression]],
    feedback: Sequence[Feedback],
    *,
    queries: int,
    now: float,
    patience_s: float | None = None,
) -> Window:
    """Summarise impressions, in order, each with its `seq`, and the feedback on them.

    Args:
        queries: most distinct queries that are kept. What nobody saw (`shadow`) does not count.
        now: when the feedback was read.
        patience_s: that of the window which this one is compared with; None: 95 % of the clicks here came within it.
    """
    seen = [(seq, one) for seq, one in impressions if one.arm != "shadow"]
    asked = {(one.tenant, one.id): one.at for _, one in seen}
    given = [one for one in feedback if (one.tenant, one.impression_id) in asked]
    delays = _click_delays(asked, given)
    waited = patience(delays.values()) if patience_s is None else patience_s
    thumbs = [one.value for one in given if one.kind == "thumb"]
    searches = [one for _, one in seen if one.kind == "search" and one.shown and one.at <= now - waited]
    answers = [one for _, one in seen if one.kind == "answer"]
    first = _first_times([one for _, one in seen], queries)
    return Window(
        first=impressions[0][0] if impressions else 0,
        last=impressions[-1][0] if impressions else 0,
        queries=tuple(one.query for one in first.values()),
        cosines=tuple(cosine for cosine in map(_best_cosine, first.values()) if cosine is not None),
        patience_s=waited,
        unclicked=sum(delays.get((one.tenant, one.id), inf) > waited for one in searches),
        searches=len(searches),
        abstained=sum(one.answer == NOT_IN_DOCUMENTS for one in answers),
        answers=len(answers),
        thumbs_down=sum(value == -1 for value in thumbs),
        thumbs=len(thumbs),
    )


def _click_delays(asked: Mapping[Key, float], feedback: Sequence[Feedback]) -> Mapping[Key, float]:
    """Seconds until the first click on each impression that has one."""
    delays: dict[Key, float] = {}
    for one in feedback:
        if one.kind == "click":
            key = one.tenant, one.impression_id
            delays[key] = min(delays.get(key, inf), max(0.0, one.at - asked[key]))
    return delays


def _first_times(impressions: Sequence[Impression], limit: int) -> Mapping[tuple[str, str], Impression]:
    found: dict[tuple[str, str], Impression] = {}
    for one in impressions:
        if len(found) >= limit:
            break
        found.setdefault((one.tenant, " ".join(one.query.lower().split())), one)
    return found


def _best_cosine(impression: Impression) -> float | None:
    return max((chunk.dense for chunk in impression.shown if chunk.dense is not None), default=None)
