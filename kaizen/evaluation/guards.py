"""Guardrails: is a release worse than the level of another in faults, speed, abstention or what people like?

Each guard bets against "no worse than the level, its uncertainty and a margin"; see `sequential`. The level is an
estimate, so a guard is exact only as far as twice its standard error covers it.

One caller (who asks for a thousand hits each time, or what the documents hold nothing about) takes no release back: the
evidence must be there without it, too. Whoever makes more than half of all requests is what the service is there for,
and counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from kaizen.evaluation.observed import AnswerReward, Level, Rewards, Seen, Unit, in_time, kind_of, unit_rewards
from kaizen.evaluation.sequential import mean_above, share_above

_MOST = 0.98  # of a share that is still no alarm
_MAIN_CLIENT = 0.5  # of all requests, from which on an identity is never left out
_LEAST_UNITS = 50  # of a reference whose reward is worth comparing with


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
    seen: Collection[Seen], rewards: Rewards, reference: Level, bounds: GuardBounds, now: float
) -> dict[str, float]:
    """Return guard -> evidence that the release is worse; a guard that has nothing to compare with is left out.

    Args:
        seen: its impressions, in order.
        now: time of the newest impression; those that people may still be about to like are left out of the rewards,
            and so is, here and in the reference, what they liked later than that.
    """
    faults = [(one.unit[0], one.faulty) for one in seen]
    found = {"faults": _share(faults, _upper(*reference.faults) + bounds.fault_margin)}
    if reference.abstentions[1]:
        answers = [(one.unit[0], one.abstained) for one in seen if one.abstained is not None]
        found["abstention"] = _share(answers, _upper(*reference.abstentions) + bounds.abstention_margin)
    timed = [one for one in seen if kind_of(one) in reference.p95_ms]
    if timed:
        limit = {k: p95 * bounds.latency_ratio + bounds.latency_slack_ms for k, p95 in reference.p95_ms.items()}
        slow = [(one.unit[0], one.total_ms > limit[kind_of(one)]) for one in timed]
        found["latency"] = _share(slow, bounds.slow_share)
    settled, timely = _settled(seen, reference, now), in_time(rewards, reference.patience_s)
    mean, error, units = reference.reward
    borne = (mean - 2 * error) * (1 - bounds.reward_drop)
    if units >= _LEAST_UNITS and borne > 0 and not reference.batches:
        found["reward"] = _below(unit_rewards(settled, timely).values(), borne)
    if reference.answers is not None and reference.answers.units >= _LEAST_UNITS and not reference.batches:
        asked = unit_rewards(settled, timely, answers=True)
        found["answers"] = _disliked(asked, reference.answers, bounds)
    return found


def _settled(seen: Collection[Seen], reference: Level, now: float) -> list[Seen]:
    """Without those that people may still be about to like."""
    return [one for one in seen if one.at <= now - reference.patience_s]


def _disliked(asked: Mapping[Unit, float], reference: AnswerReward, bounds: GuardBounds) -> float:
    """Evidence that answers are liked less than is borne; the less of with and without whoever dislikes most."""
    borne = reference.mean - 2 * reference.error - bounds.reward_drop * _upper(reference.judged, reference.units)
    made, lost = Counter(identity for identity, _ in asked), defaultdict[str, float](float)
    for (identity, _), value in asked.items():
        lost[identity] += reference.mean - value
    worst = max(lost, key=lambda identity: lost[identity], default="")
    kept = [list(asked.values())]
    if made[worst] <= _MAIN_CLIENT * len(asked):
        kept.append([value for (identity, _), value in asked.items() if identity != worst])
    return min(_below(values, borne) for values in kept)


def _below(values: Collection[float], mean: float) -> float:
    """Evidence that values in [0, 1] have an expectation below `mean`."""
    return mean_above(-np.array(list(values), np.float64), -mean, -1.0)


def _share(judged: Collection[tuple[str, bool]], borne: float) -> float:
    """Evidence that more are bad than is borne, of (identity, bad); the less of with and without the worst identity."""
    made, bad = Counter(who for who, _ in judged), Counter(who for who, is_bad in judged if is_bad)
    sums = [(bad.total(), len(judged))]
    for worst, count in bad.most_common(1):
        if made[worst] <= _MAIN_CLIENT * len(judged):
            sums.append((bad.total() - count, len(judged) - made[worst]))
    return min(share_above(bads, total - bads, min(_MOST, borne)) for bads, total in sums)


def _upper(count: int, total: int) -> float:
    """Upper end of a 95 % interval for a share (Agresti and Coull 1998)."""
    share = (count + 2) / (total + 4)
    return share + 2 * sqrt(share * (1 - share) / (total + 4))
