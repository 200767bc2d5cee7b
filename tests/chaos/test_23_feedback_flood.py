"""Row 23: one identity floods the service with feedback. Its weight is capped, and it promotes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from unittest.mock import patch

import numpy as np
import pytest

from bench.people import CHALLENGER, Habits, Rows, Traffic, begun
from kaizen.evaluation import online
from kaizen.evaluation.online import Bounds, OnlineTest, decide, fold
from kaizen.learning import curation
from kaizen.learning.identities import MOST_SHARE
from kaizen.records import Feedback, Impression
from tests.chaos.conftest import Chaos
from tests.unit.learning.world import World, answer_place, query_text, ranking, visited

FLOOD = "flood"
QUERIES, SESSIONS, OTHERS = 40, 20, 40
CLICKS = "one identity that agrees with all others clicks documents of its own choice, and more than they do together"
ALONE = "one identity has all votes of an interleaved trial"
IN_AB = "one identity, every second search of an A/B test of equals, likes all that the challenger finds"
AMONG_OTHERS = "one identity, every second search of an interleaved trial of equals, likes what the challenger finds"
AGAINST = "{}, every second search of {}, dislike all that a good challenger finds"
EQUAL, GOOD = Habits(), Habits(good_first=0.8)


def flooded(chance: Random, clicks: int) -> World:
    """People who search, and one that does as they do, so that nothing speaks against it, and then as it likes."""
    world = visited(QUERIES, SESSIONS, seed=chance.randrange(10**6))
    for number in range(QUERIES):
        world.show(query_text(number), ranking(number), [answer_place(number)], user=FLOOD)
    for number in range(QUERIES, QUERIES + clicks):
        documents, place = ranking(number), answer_place(chance.randrange(10))
        documents[place] = f"{FLOOD}-{number}"
        world.show(query_text(number), documents, [place], user=FLOOD)
    return world


def share_that_counts(world: World) -> float:
    """Its share of the clicks that count, by the documents that only it clicks."""
    rows = world.curate().examples.to_pylist()
    return sum(row["clicks"] for row in rows if row["document_id"].startswith(FLOOD)) / sum(r["clicks"] for r in rows)


def test_it_has_a_share_of_the_clicks_at_most(chaos: Chaos) -> None:
    chance = chaos.chance("flood of clicks")
    floods = [flooded(chance, clicks) for clicks in chaos.of([1000], [500, 1000, 2000, 4000] * 5)]
    violations = sum(share_that_counts(world) > MOST_SHARE for world in floods)
    chaos.kept(23, CLICKS, trials=len(floods), violations=violations)
    assert violations == 0


def test_without_the_cap_it_has_most_of_them(chaos: Chaos) -> None:
    chance = chaos.chance("flood of clicks")
    with patch.object(curation, "capped", lambda spoken: np.ones(len(spoken))):
        shares = [share_that_counts(flooded(chance, clicks)) for clicks in (1000, 2000)]
    chaos.broken(
        23, CLICKS, defence="the clicks of one identity are capped", trials=len(shares),
        violations=sum(share > MOST_SHARE for share in shares),
        seen=f"those that counted were {min(shares):.0%} of all and more",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flood:
    """A trial in which one identity likes what the challenger finds, `share` of all that search."""

    mode: str
    looks: int
    others: int = OTHERS
    every: int = 20  # searches of the others, and as many of the flood, between two looks

    def promotes(self, seed: int, bounds: Bounds | None = None) -> bool:
        """Whether the challenger, which is no better, is promoted at one of the looks, and would not be without the
        flood: now and then chance makes the others prefer it, at most as often as the error rate allows."""
        traffic = Traffic(seed, identities=max(1, self.others))
        test = begun(self.mode)
        for _ in range(self.looks):
            test = self._flooded(test, traffic)
            outcome = decide(test, bounds or Bounds())
            if outcome.action != "continue":
                return outcome.action == "promote" and not others_prefer_it(test, bounds or Bounds())
        return False

    def _flooded(self, test: OnlineTest, traffic: Traffic) -> OnlineTest:
        if self.others:
            test = fold(test, *traffic.rows(self.every, self.mode, EQUAL, EQUAL))
        impressions = [(seq, self._its_own(made)) for seq, made in traffic.rows(self.every, self.mode, EQUAL, EQUAL)[0]]
        liking = (like(made) for _, made in impressions)
        return fold(test, impressions, [(test.feedback_seq, given) for given in liking if given])

    def _its_own(self, impression: Impression) -> Impression:
        """The same search by the flood; in an A/B test chance gave it the challenger."""
        made = replace(impression, user=FLOOD)
        return replace(made, arm="challenger", release=CHALLENGER) if self.mode == "ab" else made


def others_prefer_it(test: OnlineTest, bounds: Bounds) -> bool:
    """Whether the votes of everybody else are enough for the challenger."""
    its_own = {one.unit[0] for one in test.seen.values() if FLOOD in one.unit[0]}
    others = {unit: vote for unit, vote in test.votes.items() if unit[0] not in its_own}
    with patch.object(online, "_of_others", lambda *_: float("inf")):
        return bool(others) and decide(replace(test, votes=others), bounds).action == "promote"


def like(impression: Impression) -> Feedback | None:
    """A click on the first hit of the challenger, as far as it has one."""
    hit = next((one for one in impression.shown if impression.arm == "challenger" or one.team == "challenger"), None)
    return hit and Feedback(
        id=f"fb_{impression.id}", at=impression.at, tenant=impression.tenant, impression_id=impression.id,
        kind="click", chunk_id=hit.chunk_id, value=1.0, text="", identity=impression.identity, idempotency_key="",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FloodAgainst:
    """A good challenger, and `identities` that dislike what it finds, together half of all that search."""

    mode: str
    looks: int
    identities: int
    others: int = OTHERS
    every: int = 20

    def takes_back(self, seed: int) -> bool:
        """Whether the challenger (mode off: the release that was promoted) is taken back at one of the looks."""
        traffic = Traffic(seed, identities=self.others)
        stable = GOOD if self.mode == "off" else EQUAL  # after a promotion the good one answers
        test = begun(self.mode, self._before(seed) if self.mode == "off" else None)
        for _ in range(self.looks):
            test = fold(test, *traffic.rows(self.every, self.mode, stable, GOOD))
            made = traffic.rows(self.every, self.mode, stable, GOOD)[0]
            impressions = [(seq, self._its_own(number, one)) for number, (seq, one) in enumerate(made)]
            judged = [dislike(one) for _, one in impressions]
            test = fold(test, impressions, [(test.feedback_seq, given) for given in judged if given])
            outcome = decide(test, Bounds())
            if outcome.action != "continue":
                return outcome.action == "rollback"
        return False

    def _before(self, seed: int) -> Rows:
        """What people did with the release that was replaced."""
        return Traffic(seed + 1, identities=self.others).rows(400, "off", EQUAL, EQUAL)

    def _its_own(self, number: int, impression: Impression) -> Impression:
        made = replace(impression, user=f"{FLOOD}{number % self.identities}")
        return replace(made, arm="challenger", release=CHALLENGER) if self.mode == "ab" else made

    @property
    def fault(self) -> str:
        """What happens, for the page."""
        trial = {"interleave": "an interleaved trial", "ab": "an A/B test", "off": "the time after a promotion"}
        who = "one identity" if self.identities == 1 else f"one caller with {self.identities} keys"
        return AGAINST.format(who, trial[self.mode]).replace("dislike", "dislikes", 1)


def dislike(impression: Impression) -> Feedback | None:
    """A thumb down on the first hit of the good challenger: of two drafted lists on one that is its alone, as far as
    it has one; else (in an A/B test, after its promotion) on the first of all."""
    of_both = impression.arm == "interleaved"
    hit = next((one for one in impression.shown if one.team == "challenger" or not of_both), None)
    return hit and Feedback(
        id=f"fb_{impression.id}", at=impression.at, tenant=impression.tenant, impression_id=impression.id,
        kind="thumb", chunk_id=hit.chunk_id, value=-1.0, text="", identity=impression.identity, idempotency_key="",
    )  # fmt: skip


def taken_back(chaos: Chaos, flood: FloodAgainst, trials: int) -> int:
    """How many of so many good challengers are taken back."""
    chance = chaos.chance(f"flood against in {flood}")
    return sum(flood.takes_back(chance.randrange(10**6)) for _ in range(trials))


def promoted(chaos: Chaos, flood: Flood, trials: int, bounds: Bounds | None = None) -> int:
    """How many of so many trials end with a promotion."""
    chance = chaos.chance(f"flood in {flood}")
    return sum(flood.promotes(chance.randrange(10**6), bounds) for _ in range(trials))


@pytest.mark.parametrize(
    ("fault", "flood"),
    [
        (ALONE, Flood("interleave", looks=12, others=0)),
        (IN_AB, Flood("ab", looks=40)),
        (AMONG_OTHERS, Flood("interleave", looks=12)),
    ],
)  # fmt: skip
def test_it_promotes_nothing(chaos: Chaos, fault: str, flood: Flood) -> None:
    trials = chaos.of(10, 100)
    violations = promoted(chaos, flood, trials)
    chaos.kept(23, fault, trials=trials, violations=violations)
    assert violations == 0


LOOKS = {"interleave": 12, "ab": 40, "off": 40}


@pytest.mark.parametrize("mode", LOOKS)
def test_it_takes_no_good_challenger_back(chaos: Chaos, mode: str) -> None:
    trials, flood = chaos.of(5, 100), FloodAgainst(mode, LOOKS[mode], identities=1)
    violations = taken_back(chaos, flood, trials)
    chaos.kept(23, flood.fault, trials=trials, violations=violations)
    assert violations == 0


@pytest.mark.usefixtures("long_form")
@pytest.mark.parametrize("keys", [2, 3, 4, 5])
@pytest.mark.parametrize("mode", LOOKS)
def test_several_keys_can(chaos: Chaos, mode: str, keys: int) -> None:
    """Nothing tells one caller with several keys from several people: how often it has its way is told, not prevented.
    It costs an improvement, and harms nobody."""
    trials, flood = 100, FloodAgainst(mode, LOOKS[mode], identities=keys)
    seen = f"{flood.fault}: {taken_back(chaos, flood, trials)} of {trials} taken back, a known limit"
    chaos.kept(23, seen, trials=trials)


def test_where_its_own_votes_may_decide_it_takes_one_back(chaos: Chaos) -> None:
    trials, flood = 10, FloodAgainst("interleave", LOOKS["interleave"], identities=1)
    with patch.object(online, "_outvoted", lambda *_: True):
        violations = taken_back(chaos, flood, trials)
    chaos.broken(
        23, flood.fault, defence="a challenger must lose to more than one identity", trials=trials,
        violations=violations, seen=f"{violations} of {trials} good challengers were taken back",
    )  # fmt: skip


def test_where_one_identity_is_enough_it_promotes(chaos: Chaos) -> None:
    trials, flood = 10, Flood("interleave", looks=12, others=0)
    with patch.object(online, "_of_others", lambda *_: float("inf")):
        violations = promoted(chaos, flood, trials, Bounds(min_identities=1))
    chaos.broken(
        23, ALONE, defence="a promotion needs several identities", trials=trials, violations=violations,
        seen=f"{violations} of {trials} challengers that are no better were promoted",
    )  # fmt: skip


def test_where_its_own_votes_may_decide_it_promotes(chaos: Chaos) -> None:
    trials, flood = 10, Flood("interleave", looks=12)
    with patch.object(online, "_of_others", lambda *_: float("inf")):
        violations = promoted(chaos, flood, trials)
    chaos.broken(
        23, AMONG_OTHERS, defence="a challenger must win without any one identity", trials=trials,
        violations=violations, seen=f"{violations} of {trials} challengers that are no better were promoted",
    )  # fmt: skip


def test_where_each_search_counts_it_promotes(chaos: Chaos) -> None:
    def each_search(test: OnlineTest, _window: int) -> list[tuple[str, float]]:
        return [
            (one.arm, test.rewards[one.seq].reward if one.seq in test.rewards else 0.0) for one in test.seen.values()
        ]

    trials = 10
    with patch.object(online, "_identities", each_search):
        violations = promoted(chaos, Flood("ab", looks=40), trials)
    chaos.broken(
        23, IN_AB, defence="an identity is one observation of an A/B test", trials=trials, violations=violations,
        seen=f"{violations} of {trials} challengers that are no better were promoted",
    )  # fmt: skip
