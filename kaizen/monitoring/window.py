"""A stretch of traffic, boiled down to what drift shows in.

A click takes its time. So a search is counted once it is as old as the patience, and a click on it counts when it came
within the patience: the newest searches do not seem to be disliked, and old ones have no more time than new ones.

Rates count what somebody asks once, however often, and of one identity a part at most (see `first_of_units`): a robot
that repeats a query is no change of people's minds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from kaizen.answering.answer import NOT_IN_DOCUMENTS
from kaizen.evaluation.observed import Key, Unit, first_of_units, main_client, patience, unit_of
from kaizen.records import Feedback, Impression


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was asked and found between two impressions.

    Attributes:
        first, last: `seq` of its impressions' ends.
        queries: distinct ones, in the order in which they first came: one that is asked a hundred times is one.
        cosines: of the best chunk of each of `queries`, the first time that it was asked; None ones are left out.
        patience_s: seconds that a click had to come in.
        unclicked, searches: units' first searches of that age that showed something and were not clicked on in time, of
            how many.
        abstained, answers; thumbs_down, thumbs: likewise, of any age; of thumbs the last of each unit.
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
    asked = {(one.tenant, one.id): one for _, one in seen}
    given = [one for one in feedback if (one.tenant, one.impression_id) in asked]
    delays = _click_delays(asked, given)
    waited = patience(delays.values()) if patience_s is None else patience_s
    main = main_client(Counter(one.identity for _, one in seen))
    unclicked = first_of_units(
        ((unit_of(one), delays.get((one.tenant, one.id), inf) > waited) for _, one in seen
         if one.kind == "search" and one.shown and one.at <= now - waited), main,
    )  # fmt: skip
    abstained = first_of_units(
        ((unit_of(one), one.answer == NOT_IN_DOCUMENTS) for _, one in seen if one.kind == "answer"), main
    )
    thumbs = first_of_units(_last_thumbs(asked, given).items(), main)
    first = _first_times([one for _, one in seen], queries)
    return Window(
        first=impressions[0][0] if impressions else 0,
        last=impressions[-1][0] if impressions else 0,
        queries=tuple(one.query for one in first.values()),
        cosines=tuple(cosine for cosine in map(_best_cosine, first.values()) if cosine is not None),
        patience_s=waited,
        unclicked=sum(unclicked.values()),
        searches=len(unclicked),
        abstained=sum(abstained.values()),
        answers=len(abstained),
        thumbs_down=sum(value == -1 for value in thumbs.values()),
        thumbs=len(thumbs),
    )


def _click_delays(asked: Mapping[Key, Impression], feedback: Sequence[Feedback]) -> Mapping[Key, float]:
    """Seconds until the first click on each impression that has one."""
    delays: dict[Key, float] = {}
    for one in feedback:
        if one.kind == "click":
            key = one.tenant, one.impression_id
            delays[key] = min(delays.get(key, inf), max(0.0, one.at - asked[key].at))
    return delays


def _last_thumbs(asked: Mapping[Key, Impression], feedback: Sequence[Feedback]) -> Mapping[Unit, float | None]:
    return {
        unit_of(asked[one.tenant, one.impression_id], one.identity): one.value
        for one in feedback
        if one.kind == "thumb"
    }


def _first_times(impressions: Sequence[Impression], limit: int) -> Mapping[tuple[str, str], Impression]:
    found: dict[tuple[str, str], Impression] = {}
    for one in impressions:
        if len(found) >= limit:
            break
        found.setdefault((one.tenant, " ".join(one.query.lower().split())), one)
    return found


def _best_cosine(impression: Impression) -> float | None:
    return max((chunk.dense for chunk in impression.shown if chunk.dense is not None), default=None)
