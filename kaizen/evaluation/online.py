"""The online test: what people do with two releases, folded row by row into a decision that may come at any time.

Pure: the same rows give the same decision, in whatever portions they are folded, so it can be computed again.

    interleave   each (identity, query) has one vote: the team of its first liked hit. Challenger against one half, also
                 without any one of the identities: nobody's opinion alone makes a release, or takes a challenger back;
                 back, but not forth, the opinion of whoever makes more than half of all requests is enough.
    ab           each identity is one observation (its impressions depend on each other): its mean reward in the first
                 `window_impressions` of everybody after it came, against chance's assignment of identities. The reward
                 is that of its searches, or of its answers where the two releases write them differently.
    shadow, canary   guards only
    after a promotion (no challenger): guards of the stable release against the level of the one before it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import exp, log
from typing import Any, Literal

import numpy as np

from kaizen.evaluation.guards import GuardBounds, guard_evidence
from kaizen.evaluation.interleaving import credit
from kaizen.evaluation.observed import (
    Key,
    Level,
    Rewards,
    Seen,
    Unit,
    earned,
    level,
    liking,
    main_client,
    tells,
    unit_rewards,
)
from kaizen.evaluation.sequential import gain, mean_above, share_above, share_interval
from kaizen.records import Feedback, Impression, Rollout

RULES = 3  # number of the rules by which rows decide; raise it with each change that makes any figure another one
Action = Literal["promote", "rollback", "continue"]
_ENOUGH_BESIDE = 100  # impressions of the stable release beside the test, from which they are its level
_SENTENCES = {
    "fallbacks": "It cannot answer more often than is borne: the stable release had to.",
    "faults": "Its results are partial or degraded more often than is borne.",
    "answer_faults": "Its answers are partial or degraded more often than is borne.",
    "abstention": "It says more often than is borne that the documents hold no answer.",
    "latency": "It is slower than is borne.",
    "reward": "People like what it finds less than is borne.",
    "answers": "People dislike what it answers more than is borne.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a decision needs.

    Attributes:
        error_rate: chance, over all looks, that a challenger no better is promoted; and that one no worse loses.
        min_identities: identities that must have taken part (on each side, in ab) before a promotion.
        identity_votes, identity_share: an identity has at most so many votes, or that share of all, whichever is more.
        window_impressions: ab: for how many impressions of everybody an identity is observed.
        vote_prior: bet of the interleaving test: Beta(p, p) on the share of votes; more looks for smaller leads.
    """

    error_rate: float = 0.05
    min_identities: int = 5
    identity_votes: int = 20
    identity_share: float = 0.1
    window_impressions: int = 500
    vote_prior: float = 4.0
    guards: GuardBounds = field(default_factory=GuardBounds)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Bounds:
        """Return the bounds that `dataclasses.asdict` made the record of."""
        return cls(**{**record, "guards": GuardBounds(**record["guards"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineTest:
    """All that was read of one rollout.

    Attributes:
        reference: level of the stable release (after a promotion: of the previous one) before the rollout began.
        written: whether the two releases write answers differently: then these are compared.
        seen: the rollout's impressions. rewards: by their `seq`.
        votes: in the order they were cast; +1 the challenger.
        impression_seq, feedback_seq: how far the ledger was read.
    """

    rollout: Rollout
    reference: Level
    written: bool = False
    seen: Mapping[Key, Seen] = field(default_factory=dict)
    rewards: Rewards = field(default_factory=dict)
    votes: Mapping[Unit, int] = field(default_factory=dict)
    impression_seq: int = 0
    feedback_seq: int = 0

    @property
    def on_trial(self) -> str:
        """The release that is judged."""
        return self.rollout.challenger or self.rollout.stable or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What to do now. `code`: the reason in one word; `figures`: JSON."""

    action: Action
    code: str
    reason: str
    figures: Mapping[str, Any]


def begin(rollout: Rollout, reference: Level, *, written: bool = False) -> OnlineTest:
    """A test of what `rollout` has on trial, before any row."""
    return OnlineTest(
        rollout=rollout,
        reference=reference,
        written=written,
        impression_seq=rollout.since_impression,
        feedback_seq=rollout.since_feedback,
    )


def fold(
    test: OnlineTest, impressions: Iterable[tuple[int, Impression]], feedback: Iterable[tuple[int, Feedback]]
) -> OnlineTest:
    """Return the test with the next rows of both tables, in order. Feedback must not outrun its impressions."""
    seen, rewards, votes = dict(test.seen), dict(test.rewards), dict(test.votes)
    impression_seq, feedback_seq = test.impression_seq, test.feedback_seq
    for impression_seq, impression in impressions:
        if _belongs(impression, test.rollout) and tells(impression):
            seen[impression.tenant, impression.id] = Seen.of(impression_seq, impression)
    for feedback_seq, judgement in feedback:  # noqa: B007 (the last one is kept)
        about = seen.get((judgement.tenant, judgement.impression_id))
        if about is None:
            continue
        if reward := earned(rewards.get(about.seq), about, judgement, answers=test.written):
            rewards[about.seq] = reward
        if about.arm == "interleaved" and (vote := liking(judgement) * credit(about.shown, (judgement.chunk_id,))):
            votes.setdefault((judgement.identity, about.unit[1]), vote)
    return replace(
        test, seen=seen, rewards=rewards, votes=votes, impression_seq=impression_seq, feedback_seq=feedback_seq
    )


def decide(test: OnlineTest, bounds: Bounds) -> Outcome:
    """Return what the rows so far say. A guard comes first; a promotion needs the error rate and enough identities."""
    guards = _guards(test, bounds.guards)
    figures: dict[str, Any] = {
        "impressions": len(test.seen),
        "reference": test.reference.record(),
        "guards": {name: round(evidence, 3) for name, evidence in guards.items()},
    }
    alarm = log(max(1, len(guards)) / bounds.guards.error_rate)
    if guards and max(guards.values()) >= alarm:
        code = max(guards, key=lambda name: guards[name])
        return Outcome(action="rollback", code=code, reason=_SENTENCES[code], figures=figures)
    if test.rollout.mode == "interleave":
        return _interleaved(test, bounds, figures)
    if test.rollout.mode == "ab" and 0 < test.rollout.weight < 1:
        return _compared(test, bounds, figures)
    return Outcome(action="continue", code="guarded", reason="No guard has anything against it.", figures=figures)


def _belongs(impression: Impression, rollout: Rollout) -> bool:
    if impression.challenger and rollout.challenger is None:
        return False  # of a trial after the promotion: what it lacks, the challenger may have lacked
    sides = {"stable": rollout.stable, "challenger": rollout.challenger, "shadow": rollout.challenger}
    return impression.release == sides.get(impression.arm, rollout.stable)


def _guards(test: OnlineTest, bounds: GuardBounds) -> dict[str, float]:
    """The guards of what is on trial, against whoever answers beside it, or the recorded level where nobody does."""
    mode, seen = test.rollout.mode, list(test.seen.values())
    arms = {"interleave": "interleaved", "shadow": "shadow", "off": "stable"}
    # Where the challenger could not answer, the stable release did, and said that it was degraded: the fault is the
    # challenger's.
    judged = [one for one in seen if one.arm == arms.get(mode, "challenger") or one.fell_back]
    beside = [one for one in seen if one.arm == "stable" and not one.fell_back] if mode != "off" else []
    now = max((one.at for one in seen), default=0.0)
    enough = len(beside) >= _ENOUGH_BESIDE
    reference = level(beside, test.rewards, answers=test.written) if enough else test.reference
    if mode in ("shadow", "interleave"):  # nobody could like what was not shown; interleaved hits have their own test
        reference = replace(reference, reward=(0.0, 0.0, 0), answers=None)
    return guard_evidence(judged, test.rewards, reference, bounds, now, seen) if judged else {}


def _interleaved(test: OnlineTest, bounds: Bounds, figures: dict[str, Any]) -> Outcome:
    counted = _capped(test.votes, bounds)
    wins, losses = _tally(counted)
    balance: Counter[str] = Counter()
    for (identity, _), vote in test.votes.items():
        balance[identity] += vote
    for_it, against = _sides(balance)
    better = share_above(wins, losses, 0.5, bounds.vote_prior)
    worse = share_above(losses, wins, 0.5, bounds.vote_prior)
    main = main_client(Counter(one.unit[0] for one in test.seen.values()))
    of_others, worse_of_others = _of_others(counted, bounds, 1), _of_others(counted, bounds, -1, main)
    low, high = share_interval(wins, losses, bounds.error_rate)
    figures |= {
        "wins": wins,
        "losses": losses,
        "share": [round(low, 4), round(high, 4)],
        "identities": {"for": for_it, "against": against},
        "evidence": {
            "better": round(better, 3),
            "better_of_others": round(of_others, 3),
            "worse": round(worse, 3),
            "worse_of_others": round(worse_of_others, 3),
        },
    }
    said = f"{wins} of {wins + losses} votes are for it"
    carried = for_it > against and of_others >= _need(bounds)
    many = len(balance) >= bounds.min_identities and carried
    lost = _outvoted(balance, main, worse_of_others, bounds)
    return _verdict(better, worse, many, lost, said, bounds, figures)


def _outvoted(balance: Mapping[str, int], main: str | None, worse_of_others: float, bounds: Bounds) -> bool:
    """Whether it is not one identity alone that a challenger lost to: more are against it than for it, or the main
    client is; and without any other one's votes the evidence is enough, too."""
    for_it, against = _sides(balance)
    outvoted = against > for_it or (main is not None and balance.get(main, 0) < 0)
    return outvoted and worse_of_others >= _need(bounds)


def _sides(balance: Mapping[str, int]) -> tuple[int, int]:
    """How many identities have more votes for the challenger than against it, and the other way round."""
    return sum(lead > 0 for lead in balance.values()), sum(lead < 0 for lead in balance.values())


def _compared(test: OnlineTest, bounds: Bounds, figures: dict[str, Any]) -> Outcome:
    observed = _identities(test, bounds.window_impressions)
    of = "answers of " if test.written else ""
    treated = np.array([arm == "challenger" for arm, _ in observed], np.bool_)
    rewards = np.array([mean for _, mean in observed], np.float64)
    weight = test.rollout.weight
    estimates = gain(rewards, treated, weight)
    lowest = -1 / min(weight, 1 - weight)
    better, worse = mean_above(estimates, 0.0, lowest), mean_above(-estimates, 0.0, lowest)
    sides = (int(treated.sum()), int((~treated).sum()))
    means = [round(float(rewards[side].mean()), 4) if side.any() else None for side in (treated, ~treated)]
    figures |= {
        "identities": dict(zip(("challenger", "stable"), sides, strict=True)),
        "reward": dict(zip(("challenger", "stable"), means, strict=True)),
        "gain": round(float(estimates.mean()), 4) if len(estimates) else None,
        "evidence": {"better": round(better, 3), "worse": round(worse, 3)},
    }
    said = (
        f"the mean reward of {of}{sides[0]} identities is {means[0]}, of {sides[1]} with the stable release {means[1]}"
    )
    return _verdict(better, worse, min(sides) >= bounds.min_identities, True, said, bounds, figures)


def _verdict(
    better: float, worse: float, many: bool, lost: bool, said: str, bounds: Bounds, figures: Mapping[str, Any]
) -> Outcome:
    """What the evidence says. many, lost: whether enough identities are behind it, for the challenger or against."""
    need = _need(bounds)
    chance = f"once in {exp(min(50, max(better, worse))):.3g} tests"
    odds = f"{said}; were it no {{}}, evidence as strong would come at most {chance}."
    if worse >= need and lost:
        reason = "People prefer the stable release: " + odds.format("worse")
        return Outcome(action="rollback", code="worse", reason=reason, figures=figures)
    if max(better, worse) < need:
        return Outcome(action="continue", code="undecided", reason=f"So far {said}.", figures=figures)
    if worse >= need or not many:
        reason = f"So far {said}, but that rests on too few identities."
        return Outcome(action="continue", code="few-identities", reason=reason, figures=figures)
    return Outcome(
        action="promote", code="better", reason="People prefer it: " + odds.format("better"), figures=figures
    )


def _need(bounds: Bounds) -> float:
    """Evidence from which a decision is made."""
    return log(1 / bounds.error_rate)


Votes = list[tuple[str, int]]  # by whom, and +1 for the challenger or -1


def _tally(votes: Votes) -> tuple[int, int]:
    """Votes for the challenger, and against it."""
    wins = sum(vote > 0 for _, vote in votes)
    return wins, len(votes) - wins


def _of_others(votes: Votes, bounds: Bounds, side: int, main: str | None = None) -> float:
    """The least evidence on one side (1: for the challenger, -1: against it) that is left when any one identity's votes
    are taken away, but never those of the `main` client."""
    own: dict[str, list[int]] = {}
    for identity, vote in votes:
        own.setdefault(identity, []).append(vote)
    all_for, all_against = (sum(vote == sign for _, vote in votes) for sign in (side, -side))
    parts = {(each.count(side), each.count(-side)) for identity, each in own.items() if identity != main} or {(0, 0)}
    return min(share_above(all_for - won, all_against - lost, 0.5, bounds.vote_prior) for won, lost in parts)


def _capped(votes: Mapping[Unit, int], bounds: Bounds) -> Votes:
    """The votes that count. Whether one does is known before it is cast, so chance still favours nobody."""
    counted: Votes = []
    cast: Counter[str] = Counter()
    for (identity, _), vote in votes.items():
        if cast[identity] < max(bounds.identity_votes, bounds.identity_share * len(counted)):
            counted.append((identity, vote))
            cast[identity] += 1
    return counted


def _identities(test: OnlineTest, window: int) -> list[tuple[str, float]]:
    """Arm and mean reward of each identity whose window is over, in the order in which they came."""
    of: dict[str, list[Seen]] = {}
    for one in test.seen.values():
        if (one.abstained is not None) == test.written:  # a window begins with the first that can count
            of.setdefault(one.unit[0], []).append(one)
    observed: list[tuple[str, float]] = []
    for seen in of.values():
        end = seen[0].seq + window
        rewards = unit_rewards((one for one in seen if one.seq < end), test.rewards, answers=test.written)
        if end <= test.impression_seq and rewards:
            observed.append((seen[0].arm, float(np.mean(list(rewards.values())))))
    return observed
