"""Guardrails: is a release worse than the level of another in faults, speed, abstention or what people like?

Each guard bets against "no worse than the level, its uncertainty and a margin"; see `sequential`. The level is an
estimate, so a guard is exact only as far as twice its standard error covers it.

One caller (who asks for a thousand hits each time, or what the documents hold nothing about) takes no release back: the
evidence must be there without it, too. Whoever makes more than half of all requests is what the service is there for,
and counts.

A canary draws people, not requests: what one or two of them ask for says more of them than of the release. So at least
three (two, what searches lack) or the main client must have met it, a reward is borne that differs as people do, and
searches and answers have a level each. Only what it could not answer at all, where the stable release had to, is
nobody's habit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np

from kaizen.evaluation.observed import (
    KINDS,
    Level,
    Rewards,
    Seen,
    Unit,
    in_time,
    kind_of,
    main_client,
    unit_rewards,
)
from kaizen.evaluation.sequential import mean_above, share_above

_MOST = 0.98  # of a share that is still no alarm
_LEAST_UNITS = 50  # of a reference whose reward is worth comparing with
_LEAST_IDENTITIES = 3  # where a test has more: what fewer do may be their habit
_LEAST_OF_SEARCHES = 2  # what an answer lacks depends on what is asked; searches of all people lack the same
Judged = list[tuple[str, bool]]  # identity, and whether what it met was bad


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardBounds:
    """How much worse is too much.

    Attributes:
        error_rate: chance, over all guards and looks, that a release no worse is taken back.
        fault_margin, abstention_margin: what is added to the reference's share.
        latency_ratio, latency_slack_ms: slower than p95 times the one plus the other is slow. Wide, because a machine
            that is busy with something else must not take a release back; judging compares side by side.
        slow_share: share of slow responses that is borne.
        reward_drop: share of the reference's mean reward that may be lost; of the answers that somebody judges, the
            share that may turn from liked to disliked.
    """

    error_rate: float = 0.01
    fault_margin: float = 0.05
    abstention_margin: float = 0.15
    latency_ratio: float = 3.0
    latency_slack_ms: float = 100.0
    slow_share: float = 0.2
    reward_drop: float = 0.15


def guard_evidence(
    seen: Collection[Seen],
    rewards: Rewards,
    reference: Level,
    bounds: GuardBounds,
    now: float,
    everyone: Collection[Seen],
) -> dict[str, float]:
    """Return guard -> evidence that the release is worse; a guard that has nothing to compare with is left out.

    Args:
        seen: its impressions, in order.
        now: time of the newest impression; those that people may still be about to like are left out of the rewards,
            and so is, here and in the reference, what they liked later than that.
        everyone: all impressions of the test, also those beside the release.
    """
    crowd = _Crowd.of(seen, everyone)
    settled = [one for one in seen if one.at <= now - reference.patience_s]
    timely = in_time(rewards, reference.patience_s)
    evidence = {
        "fallbacks": _fallbacks(seen, reference, bounds),
        "faults": _faults(seen, "search", _LEAST_OF_SEARCHES, reference, bounds, crowd),
        "answer_faults": _faults(seen, "answer", _LEAST_IDENTITIES, reference, bounds, crowd),
        "abstention": _abstention(seen, reference, bounds, crowd),
        "latency": _latency(seen, reference, bounds, crowd),
        "reward": _reward(unit_rewards(settled, timely), reference, bounds, crowd),
        "answers": _answers(unit_rewards(settled, timely, answers=True), reference, bounds, crowd),
    }
    return {guard: against for guard, against in evidence.items() if against is not None}


@dataclass(frozen=True, slots=True)
class _Crowd:
    """Who takes part in the whole test.

    Attributes:
        main: who makes more than half of all requests.
        identities, beside: how many there are of each kind, and how many of them have never met the release: none
            where it is the only one.
    """

    main: str | None
    identities: Mapping[str, int]
    beside: Mapping[str, int]

    @classmethod
    def of(cls, seen: Collection[Seen], everyone: Collection[Seen]) -> _Crowd:
        met = {one.unit[0] for one in seen}
        of = {kind: {one.unit[0] for one in everyone if kind_of(one) == kind} for kind in KINDS}
        return cls(
            main=main_client(Counter(one.unit[0] for one in everyone)),
            identities={kind: len(who) for kind, who in of.items()},
            beside={kind: len(who - met) for kind, who in of.items()},
        )

    def has_enough(self, judged: Iterable[tuple[str, object]], kind: str, least: int = _LEAST_IDENTITIES) -> bool:
        """Whether enough are among these (identity, ..), or the main client: what fewer do may be their habit."""
        who = {identity for identity, _ in judged}
        return self.main in who or len(who) >= min(least, self.identities[kind])

    def share(self, judged: Judged, borne: float, kind: str, least: int = _LEAST_IDENTITIES) -> float:
        """Evidence that more are bad than is borne; none where it may be the habit of a few."""
        return _share_above(judged, borne, self.main) if self.has_enough(judged, kind, least) else 0.0

    def error(self, judged: Iterable[tuple[str, object]], kind: str) -> float:
        """How far the mean of these (identity, ..) is from that of those beside, were identities one apart each.

        Not at all where nobody is: what is compared then is everybody, before and now.
        """
        made, beside = Counter(identity for identity, _ in judged), self.beside[kind]
        if not made or not beside:
            return 0.0
        return sqrt(sum(count**2 for count in made.values()) / made.total() ** 2 + 1 / beside)


# Each guard returns its evidence; None: it has nothing to compare with.


def _fallbacks(seen: Collection[Seen], reference: Level, bounds: GuardBounds) -> float | None:
    """That it cannot answer; whoever makes most of what it is asked, and not of all requests, counts."""
    if all(one.arm == "stable" and not one.fell_back for one in seen):
        return None
    of_all = [sum(counts) for counts in zip(*reference.faults.values(), strict=True)] or [0, 0]
    judged = [(one.unit[0], one.fell_back) for one in seen]
    return _share_above(judged, _upper(*of_all) + bounds.fault_margin, main_client(Counter(who for who, _ in judged)))


def _faults(
    seen: Collection[Seen], kind: str, least: int, reference: Level, bounds: GuardBounds, crowd: _Crowd
) -> float | None:
    """That its own responses of a kind lack something."""
    judged = [(one.unit[0], one.faulty) for one in seen if kind_of(one) == kind and not one.fell_back]
    borne = _upper(*reference.faults.get(kind, (0, 0))) + bounds.fault_margin
    return crowd.share(judged, borne, kind, least) if judged else None


def _abstention(seen: Collection[Seen], reference: Level, bounds: GuardBounds, crowd: _Crowd) -> float | None:
    """That it says of too many questions that the documents hold no answer."""
    judged = [(one.unit[0], one.abstained) for one in seen if one.abstained is not None]
    borne = _upper(*reference.abstentions) + bounds.abstention_margin
    return crowd.share(judged, borne, "answer") if reference.abstentions[1] else None


def _latency(seen: Collection[Seen], reference: Level, bounds: GuardBounds, crowd: _Crowd) -> float | None:
    """That too many are slower than most of the reference."""
    limit = {kind: p95 * bounds.latency_ratio + bounds.latency_slack_ms for kind, p95 in reference.p95_ms.items()}
    judged = [(one.unit[0], one.total_ms > limit[kind_of(one)]) for one in seen if kind_of(one) in limit]
    return _share_above(judged, bounds.slow_share, crowd.main) if judged else None


def _reward(searched: Mapping[Unit, float], reference: Level, bounds: GuardBounds, crowd: _Crowd) -> float | None:
    """That what it finds is liked less, by more than people differ."""
    mean, error, units = reference.reward
    if units < _LEAST_UNITS or mean <= 2 * error or reference.batches:
        return None
    apart = crowd.error(searched, "search") * reference.spread
    least = (mean - 2 * hypot(error, apart)) * (1 - bounds.reward_drop)
    return _mean_below(searched.values(), least) if least > 0 and crowd.has_enough(searched, "search") else 0.0


def _answers(asked: Mapping[Unit, float], reference: Level, bounds: GuardBounds, crowd: _Crowd) -> float | None:
    """That what it answers is liked less; the less of with and without whoever dislikes most."""
    level = reference.answers
    if level is None or level.units < _LEAST_UNITS or reference.batches:
        return None
    if not crowd.has_enough(asked, "answer"):
        return 0.0
    least = level.mean - 2 * level.error - bounds.reward_drop * _upper(level.judged, level.units)
    lost = defaultdict[str, float](float)
    for (identity, _), value in asked.items():
        lost[identity] += level.mean - value
    worst = max(lost, key=lost.__getitem__, default=None)
    kept = [list(asked.values())]
    if worst != crowd.main:
        kept.append([value for (identity, _), value in asked.items() if identity != worst])
    return min(_mean_below(values, least) for values in kept)


def _share_above(judged: Judged, borne: float, main: str | None) -> float:
    """Evidence that more are bad than is borne; the less of with and without the worst identity.

    The `main` client is never left out.
    """
    made, bad = Counter(who for who, _ in judged), Counter(who for who, is_bad in judged if is_bad)
    sums = [(bad.total(), len(judged))]
    for worst, count in bad.most_common(1):
        if worst != main:
            sums.append((bad.total() - count, len(judged) - made[worst]))
    return min(share_above(bads, total - bads, min(_MOST, borne)) for bads, total in sums)


def _mean_below(values: Collection[float], least: float) -> float:
    """Evidence that values in [0, 1] have an expectation below `least`."""
    return mean_above(-np.array(list(values), np.float64), -least, -1.0)


def _upper(count: int, total: int) -> float:
    """Upper end of a 95 % interval for a share (Agresti and Coull 1998)."""
    share = (count + 2) / (total + 4)
    return share + 2 * sqrt(share * (1 - share) / (total + 4))
