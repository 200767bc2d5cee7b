"""What a test keeps of the impressions it reads, and the level that a release has in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2, sqrt
from operator import ne
from typing import Any, NamedTuple, TypeVar

import numpy as np

from kaizen.answering.answer import NOT_IN_DOCUMENTS
from kaizen.records import WAIT, Arm, Feedback, Impression, Team

Key = tuple[str, str]  # tenant, impression id
_T = TypeVar("_T")
Unit = tuple[str, str]  # identity, normalised query: what somebody repeats is counted once
_LIKED_RATING = 4
_NO_WORD = 0.5  # what an answer earns that nobody judged: between a disliked one and a liked one
_MAIN_CLIENT = 0.5  # of all requests, from which on an identity is never left out
KINDS = ("search", "answer")
_ENOUGH = 30  # impressions from which a share or a percentile says something
UNITS_EACH, UNITS_SHARE = (
    20,
    0.1,
)  # one identity (a robot that clicks nothing, a batch job) is at most so much of a mean
_LEAST_LATE = 0.05  # of likings: where fewer come later than the most that is waited, nothing is lost by it
LEAST_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = 1.0, 120.0
_USUAL_PATIENCE_SECONDS = 20.0  # before anybody was seen to click


class Liked(NamedTuple):
    """What an impression earned: `reward` by now, `first` by the first word on it, which came after `after_s`."""

    reward: float
    after_s: float
    first: float


Rewards = Mapping[int, Liked]  # by the impression's `seq`; absent: nothing was liked


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An impression, without its texts.

    Attributes:
        shown: chunk and team, best first.
        faulty: shards were missing, or a part was replaced by a lesser one.
        total_ms: without what it waited for a change that was just made: that is no slowness of a release.
        abstained: None for a search; else whether the answer was that the documents hold none.
        fell_back: the stable release answered because the challenger, whose turn it was, could not.
    """

    seq: int
    at: float
    arm: Arm
    release: str
    unit: Unit
    shown: tuple[tuple[str, Team], ...]
    faulty: bool
    total_ms: float
    abstained: bool | None
    fell_back: bool = False

    @classmethod
    def of(cls, seq: int, impression: Impression) -> Seen:
        """Keep what tests need."""
        return cls(
            seq=seq,
            at=impression.at,
            arm=impression.arm,
            release=impression.release,
            unit=unit_of(impression),
            shown=tuple((chunk.chunk_id, chunk.team) for chunk in impression.shown),
            faulty=impression.coverage < 1 or bool(impression.degraded),
            total_ms=impression.timings_ms.get("total", 0.0) - impression.timings_ms.get(WAIT, 0.0),
            abstained=impression.answer == NOT_IN_DOCUMENTS if impression.kind == "answer" else None,
            fell_back=impression.arm == "stable" and bool(impression.challenger),
        )


def tells(impression: Impression) -> bool:
    """Whether an impression says something of its release: not what lacks a part because its caller would not wait.

    Else one client with a short timeout could take any release back, without even wanting to.
    """
    return not (impression.hurried and (impression.coverage < 1 or impression.degraded))


def liking(judgement: Feedback) -> int:
    """Return +1 for a click, a thumb up or a rating from 4, -1 for a thumb down or a rating up to 2, else 0."""
    value = judgement.value or 0
    if judgement.kind == "rating":
        return (value >= _LIKED_RATING) - (value <= 2)
    return int(value) if judgement.kind in ("click", "thumb") else 0


def reward(seen: Seen, chunk_id: str) -> float:
    """Return what liking a chunk of an impression is worth, in [0, 1]: 1 / log2(position + 1), as in nDCG.

    An answer that is liked as a whole (no chunk) is worth 1.
    """
    if not chunk_id:
        return 1.0
    position = next((place for place, (shown, _) in enumerate(seen.shown, 1) if shown == chunk_id), None)
    return 1 / log2(position + 1) if position else 0.0


def liked(earlier: Liked | None, seen: Seen, judgement: Feedback) -> Liked:
    """Return what an impression has earned with one more liking: the best of its hits counts."""
    worth = reward(seen, judgement.chunk_id)
    if earlier is None:
        return _first(worth, seen, judgement)
    return earlier._replace(reward=max(earlier.reward, worth))


def earned(earlier: Liked | None, seen: Seen, judgement: Feedback, *, answers: bool) -> Liked | None:
    """Return what an impression has earned with one more judgement.

    Where `answers` are compared, the last word on an answer as a whole counts for it, and a dislike is one.
    """
    opinion = liking(judgement)
    if not answers or seen.abstained is None:
        return liked(earlier, seen, judgement) if opinion > 0 else earlier
    whole = judgement.kind in ("thumb", "rating") and not judgement.chunk_id
    if not whole:
        return earlier
    worth = _NO_WORD + opinion / 2
    return _first(worth, seen, judgement) if earlier is None else earlier._replace(reward=worth)


def _first(worth: float, seen: Seen, judgement: Feedback) -> Liked:
    return Liked(worth, max(0.0, judgement.at - seen.at), worth)


def in_time(rewards: Rewards, patience_s: float) -> Rewards:
    """Return what was earned by a first word within so many seconds: it stays the same whenever it is asked for."""
    return {seq: liked._replace(reward=liked.first) for seq, liked in rewards.items() if liked.after_s <= patience_s}


class AnswerReward(NamedTuple):
    """Mean reward of the units that asked, its standard error, how many they are and how many said what they think."""

    mean: float
    error: float
    units: int
    judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How a release does on what people do with it.

    Attributes:
        faults: (count, of how many) of searches and of answers, where there are any.
        abstentions: (count, of how many) answers.
        p95_ms: of searches and of answers, where there are enough.
        reward: mean, standard error and number of the units that searched; of what was liked within `patience_s`.
        spread: standard deviation between what identities like, beyond chance: one clicks on anything, one on nothing.
        patience_s: seconds in which 95 % of the likings came, two minutes at most: until then, nothing says that
            nothing is liked, and what comes later does not count.
        batches: likings come in batches that take longer than that: what is liked in time then tells when it was sent.
        answers: None where answers are not compared.
    """

    faults: Mapping[str, tuple[int, int]]
    abstentions: tuple[int, int]
    p95_ms: Mapping[str, float]
    reward: tuple[float, float, int]
    spread: float = 0.0
    patience_s: float = _USUAL_PATIENCE_SECONDS
    batches: bool = False
    answers: AnswerReward | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        mean, error, units = self.reward
        return {
            "impressions": sum(of for _, of in self.faults.values()),
            "faults": {kind: count for kind, (count, _) in self.faults.items()},
            "answers": self.abstentions[1],
            "abstentions": self.abstentions[0],
            "p95_ms": {kind: round(value, 3) for kind, value in self.p95_ms.items()},
            "patience_s": round(self.patience_s, 3),
            "reward": {"mean": round(mean, 6), "standard_error": round(error, 6), "units": units},
            "reward_spread": round(self.spread, 6),
            **({"batches": True} if self.batches else {}),
            **({} if self.answers is None else {"answer_reward": _answer_record(self.answers)}),
        }


def level(seen: Collection[Seen], rewards: Rewards, *, answers: bool = False) -> Level:
    """Return the level of what was seen; with that of `answers` where they are compared."""
    abstained = [one.abstained for one in seen if one.abstained is not None]
    waited, batches = _waiting(seen, rewards)
    timely = in_time(rewards, waited)
    of_units = unit_rewards(seen, timely)
    searched = list(of_units.values())
    return Level(
        faults={kind: found for kind in KINDS if (found := _faults(seen, kind))[1]},
        abstentions=(sum(abstained), len(abstained)),
        p95_ms={kind: value for kind in KINDS if (value := _p95(seen, kind)) is not None},
        reward=(*_mean(searched), len(searched)),
        spread=_spread(of_units),
        patience_s=waited,
        batches=batches,
        answers=_answer_reward(seen, timely) if answers else None,
    )


def unit_rewards(seen: Iterable[Seen], rewards: Rewards, *, answers: bool = False) -> dict[Unit, float]:
    """Return the reward of the first search (or answer) of each unit, in order; of one identity a part at most."""
    nothing = _NO_WORD if answers else 0.0
    return first_of_units(
        (one.unit, rewards[one.seq].reward if one.seq in rewards else nothing)
        for one in seen
        if (one.abstained is not None) == answers
    )


def first_of_units(made: Iterable[tuple[Unit, _T]], main: str | None = None) -> dict[Unit, _T]:
    """Return what each unit has first, in order; of one identity a part at most, unless it is the `main` client."""
    first: dict[Unit, _T] = {}
    counted: Counter[str] = Counter()
    for unit, what in made:
        identity = unit[0]
        if unit in first or (identity != main and counted[identity] >= max(UNITS_EACH, UNITS_SHARE * len(first))):
            continue
        first[unit] = what
        counted[identity] += 1
    return first


def main_client(asked: Counter[str]) -> str | None:
    """Who makes more than half of all requests; None where nobody does."""
    return next((who for who, count in asked.most_common(1) if count > _MAIN_CLIENT * asked.total()), None)


def unit_of(impression: Impression, identity: str = "") -> Unit:
    """The unit of whoever asked, or of the `identity` that judged it."""
    return identity or impression.identity, " ".join(impression.query.casefold().split())


def patience(delays: Collection[float]) -> float:
    """Return the seconds in which 95 % of the likings came that had these delays, within bounds."""
    if len(delays) < _ENOUGH:
        return _USUAL_PATIENCE_SECONDS
    return float(np.clip(np.percentile(list(delays), 95), LEAST_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS))


def _waiting(seen: Collection[Seen], rewards: Rewards) -> tuple[float, bool]:
    """Return the seconds to wait for likings, and whether they come in batches that take longer than that.

    A batch holds up many people at a time: what one of them likes in a row is one word on it, but for the main client.
    """
    liked = [(one.unit[0], rewards[one.seq].after_s) for one in seen if one.seq in rewards]
    main = main_client(Counter(one.unit[0] for one in seen))
    words = [after for (last, _), (who, after) in pairwise([("", 0.0), *liked]) if who != last or who == main]
    waited = patience([after for _, after in liked])
    if not _together([after > waited for after in words]):
        return waited, False
    late = [after > MOST_PATIENCE_SECONDS for after in words]
    return MOST_PATIENCE_SECONDS, sum(late) > _LEAST_LATE * len(late) and _together(late)


def _together(late: Sequence[bool]) -> bool:
    """Whether the late ones stand side by side: half as many changes as chance would make."""
    share, changes = sum(late) / max(1, len(late)), sum(map(ne, late, late[1:]))
    return bool(changes < (len(late) - 1) * share * (1 - share))


def kind_of(seen: Seen) -> str:
    """`search` or `answer`: their times have nothing in common."""
    return "search" if seen.abstained is None else "answer"


def _answer_reward(seen: Iterable[Seen], rewards: Rewards) -> AnswerReward:
    asked = list(unit_rewards(seen, rewards, answers=True).values())
    return AnswerReward(*_mean(asked), units=len(asked), judged=sum(value != _NO_WORD for value in asked))


def _answer_record(reward: AnswerReward) -> dict[str, Any]:
    return {
        "mean": round(reward.mean, 6), "standard_error": round(reward.error, 6),
        "units": reward.units, "judged": reward.judged,
    }  # fmt: skip


def _mean(values: Collection[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    array = np.array(list(values), np.float64)
    error = float(array.std(ddof=1) / sqrt(len(array))) if len(array) > 1 else 1.0
    return (float(array.mean()) if len(array) else 0.0), error


def _spread(rewards: Mapping[Unit, float]) -> float:
    """Standard deviation between identities' means, less what their own few searches make of it."""
    own: dict[str, list[float]] = {}
    for (identity, _), value in rewards.items():
        own.setdefault(identity, []).append(value)
    several = [np.array(values) for values in own.values() if len(values) > 1]
    if len(several) < 2:
        return 0.0
    between = float(np.var([values.mean() for values in several], ddof=1))
    return sqrt(max(0.0, between - float(np.mean([values.var(ddof=1) / len(values) for values in several]))))


def _faults(seen: Iterable[Seen], kind: str) -> tuple[int, int]:
    of = [one.faulty for one in seen if kind_of(one) == kind]
    return sum(of), len(of)


def _p95(seen: Iterable[Seen], kind: str) -> float | None:
    times = [one.total_ms for one in seen if kind_of(one) == kind]
    return float(np.percentile(times, 95)) if len(times) >= _ENOUGH else None
