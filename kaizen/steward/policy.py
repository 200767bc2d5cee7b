"""Which rung of the ladder next: the cheapest that may help and that the budget allows.

Rungs 1 and 2 leave the index alone and take minutes at most. Rung 1 fits a handful of weights and is through with its
data after one fit, so a turn goes on to rung 2 whatever rung 1 brought, and then fits rung 1 again on what rung 2
changed. Rung 0 is a sweep of the ranking settings. It learns nothing from feedback, and is left out unless there are
enough queries with trusted judgements to choose on one half and to test on the other. Rung 3 brings a new index and
rung 4 needs demonstrations and a GPU's worth of time: they come only when nothing cheaper proved better on this data.
Of all that proved better, the one with the largest gain goes to the users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kaizen.config import Learning
from kaizen.evaluation.verdict import VerdictBounds
from kaizen.steward.costs import FIRST_ESTIMATES
from kaizen.steward.state import Attempt, Material, Outcome

SWEEP = 0
GENERATOR = 4
SWEEP_MIN_TRUSTED = 80
NAMES: Mapping[int, str] = {
    SWEEP: "settings",
    1: "fusion and ranker",
    2: "query encoder",
    3: "embedder",
    GENERATOR: "generator",
}
ENCODER_MIN_QUERIES = 50
GENERATOR_MIN_DEMONSTRATIONS = 50
# Only what the stable release showed could be clicked, so labels from clicks speak for it: a candidate that gained
# .027 on true judgements gained .009 on them. One that falls no further behind than this is left to the trial on users,
# whom nothing favours.
LABELS_FAVOUR_STABLE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the choice hangs on, besides what the turn has tried.

    Attributes:
        left_cpu_s: what the budget of the last 24 hours leaves.
        costs: CPU seconds expected of each rung, with its judgement and the index that it needs.
        trainable_generator: the stable release's generator is one that rung 4 can teach.
        losers: releases that users had in an earlier turn, and did not prefer.
        trusted_queries: how many have a trusted judgement, and a relevant document that is there.
    """

    settings: Learning
    left_cpu_s: float
    costs: Mapping[int, float] = field(default_factory=lambda: dict(FIRST_ESTIMATES))
    trainable_generator: bool = False
    losers: frozenset[str] = frozenset()
    trusted_queries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """Teach this rung, beginning from `parent`."""

    rung: int
    parent: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Put this candidate before the users."""

    release: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """There is nothing left to try."""

    outcome: Outcome
    reason: str


Choice = Learn | Try | GiveUp


def choose(tried: Sequence[Attempt], stable: str, material: Material, facts: Facts) -> Choice:
    """Return what the turn does next, with the reason in words."""
    hindrances = []
    for rung, parent in _ladder(tried, stable):
        if _was_tried(tried, rung, parent):
            continue
        hindrance = _hindrance(rung, material, facts)
        if not hindrance:
            return Learn(rung=rung, parent=parent, reason=_why(rung, parent, stable, facts))
        hindrances.append(f"Rung {rung} ({NAMES[rung]}) is left out: {hindrance}")
    return _best(tried, hindrances, facts.losers)


def _ladder(tried: Sequence[Attempt], stable: str) -> Iterator[tuple[int, str]]:
    """Every (rung, parent) that a turn may try, in order."""
    yield 1, stable
    yield SWEEP, stable
    for rung in (2, 3, 4):
        if rung > 2 and _proved(tried) and not any(one.rung == rung for one in tried):
            return
        yield rung, stable
        if rung < 4:
            yield from ((1, one.release) for one in tried if one.rung == rung and _alive(one))


def _was_tried(tried: Sequence[Attempt], rung: int, parent: str) -> bool:
    return any((one.rung, one.parent) == (rung, parent) for one in tried)


def _alive(attempt: Attempt) -> bool:
    return attempt.verdict in ("promote", "keep_testing")


def _proved(tried: Sequence[Attempt]) -> bool:
    return any(one.verdict == "promote" for one in tried)


def _hindrance(rung: int, material: Material, facts: Facts) -> str:
    """Why a rung cannot help now; empty when it may."""
    if rung > facts.settings.max_rung:
        return f"learning.max_rung is {facts.settings.max_rung}."
    if rung in _LACKS and (lacks := _LACKS[rung](material, facts)):
        return lacks
    if facts.costs[rung] > facts.left_cpu_s:
        return f"it may take {facts.costs[rung]:.0f} CPU seconds and the budget leaves {max(0, facts.left_cpu_s):.0f}."
    return ""


def _lacks_queries(least: int, material: Material) -> str:
    return "" if material.queries >= least else f"there are {material.queries} queries and it needs {least}."


def _lacks_demonstrations(material: Material, facts: Facts) -> str:
    if not facts.trainable_generator:
        return "the generator is of a kind that cannot be taught."
    if material.demonstrations < GENERATOR_MIN_DEMONSTRATIONS:
        return f"there are {material.demonstrations} demonstrations and it needs {GENERATOR_MIN_DEMONSTRATIONS}."
    if material.questions < (least := VerdictBounds().min_answers):
        return f"there are {material.questions} held-out questions to judge its answers by and it needs {least}."
    return ""


def _lacks_trust(_material: Material, facts: Facts) -> str:
    if facts.trusted_queries >= SWEEP_MIN_TRUSTED:
        return ""
    return f"there are {facts.trusted_queries} queries with trusted judgements and it needs {SWEEP_MIN_TRUSTED}."


_LACKS: Mapping[int, Callable[[Material, Facts], str]] = {
    SWEEP: _lacks_trust,
    2: lambda material, _: _lacks_queries(ENCODER_MIN_QUERIES, material),
    3: lambda material, facts: _lacks_queries(facts.settings.embedder_min_queries, material),
    GENERATOR: _lacks_demonstrations,
}


def _why(rung: int, parent: str, stable: str, facts: Facts) -> str:
    again = "" if parent == stable else f" again, on {parent}, whose scores are others"
    return (
        f"Rung {rung} ({NAMES[rung]}){again}: the cheapest that is left; about {facts.costs[rung]:.0f} CPU seconds of "
        f"{facts.left_cpu_s:.0f}."
    )


def _best(tried: Sequence[Attempt], hindrances: Sequence[str], losers: frozenset[str]) -> Choice:
    new = [one for one in tried if one.release not in losers]
    proved = [one for one in new if one.verdict == "promote"]
    open_ = [one for one in new if one.verdict == "keep_testing" and _in_reach(one)]
    for group, words in ((proved, "proved better"), (open_, "may be better")):
        if group:
            best = max(group, key=lambda one: one.gain or 0)  # the first of equals: the cheaper rung
            return Try(release=best.release, reason=f"Of what was learnt, rung {best.rung} {words}: {best.reason}")
    told = [f"Rung {one.rung}: {_told(one, losers)}. {one.reason}" for one in tried]
    failed = bool(tried) and all(one.verdict == "failed" for one in tried)
    outcome: Outcome = "failed" if failed else "rejected" if tried else "nothing_to_learn"
    return GiveUp(outcome=outcome, reason=" ".join([*told, *hindrances]))


def _in_reach(attempt: Attempt) -> bool:
    return attempt.gain is None or attempt.gain > -LABELS_FAVOUR_STABLE


def _told(attempt: Attempt, losers: frozenset[str]) -> str:
    return "users did not prefer this very release before" if attempt.release in losers else str(attempt.verdict)
