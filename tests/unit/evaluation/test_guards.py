"""Guards on equal releases whose people differ: nobody's habits are taken for what a release does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from kaizen.evaluation.observed import Liked, Rewards, Seen, level
from kaizen.evaluation.online import Bounds, OnlineTest, Outcome, decide
from kaizen.records import Rollout

PEOPLE = 40
Habit = Callable[[str, Random], dict[str, object]]  # of somebody, by name: what one of the requests is like


def traffic(count: int, habit: Habit, on_arm: tuple[str, ...] = (), *, seed: int = 1) -> list[Seen]:
    """So many requests of forty people; those on the arm have the challenger."""
    rng, seen = Random(seed), []  # noqa: S311 (no secret)
    for seq in range(1, count + 1):
        who = f"u{rng.randrange(PEOPLE)}"
        made: dict[str, object] = {"abstained": None, "faulty": False, "arm": "stable"}
        made |= {"arm": "challenger"} if who in on_arm else {}
        made |= habit(who, rng)
        seen.append(
            Seen(seq=seq, at=10.0 * seq, release="r", unit=(who, f"q{seq}"), shown=(("c", ""),), total_ms=10.0, **made)  # type: ignore[arg-type]
        )
    return seen


def decided(
    seen: list[Seen],
    mode: str = "canary",
    *,
    rewards: Rewards | None = None,
    before: list[Seen] | None = None,
    written: bool = False,
) -> Outcome:
    rollout = Rollout(version=2, stable="s", challenger="c" if mode != "off" else None, mode=mode, weight=0.05)  # type: ignore[arg-type]
    folded = {("t", str(one.seq)): one for one in seen}
    reference = level(before or [], {})
    test = OnlineTest(rollout=rollout, reference=reference, written=written, seen=folded, rewards=rewards or {})
    return decide(test, Bounds())


def asks(share: float, faulty: float) -> Habit:
    """Of all requests this share are questions, and of the answers so many are degraded."""

    def one(who: str, rng: Random) -> dict[str, object]:
        asked = rng.random() < share
        return {"abstained": False if asked else None, "faulty": asked and rng.random() < faulty}

    return one


@pytest.mark.parametrize("questions", [0.3, 0.6])
def test_more_questions_than_before_are_no_fault_of_a_release(questions: float) -> None:
    before = traffic(3000, asks(0.1, 0.5))
    assert decided(traffic(2000, asks(questions, 0.5), seed=2), "off", before=before).action == "continue"


def test_answers_that_are_worse_than_before_are_though_they_are_few() -> None:
    before = traffic(3000, asks(0.1, 0.1))
    outcome = decided(traffic(1000, asks(0.1, 0.9), seed=2), "off", before=before)
    assert (outcome.action, outcome.code) == ("rollback", "answer_faults")


WRONG: dict[str, dict[str, object]] = {
    "faults": {"faulty": True},
    "answer_faults": {"abstained": False, "faulty": True},
    "abstention": {"abstained": True},
}


@pytest.mark.parametrize(
    ("wrong", "people"),
    [("faults", 1), ("answer_faults", 1), ("answer_faults", 2), ("abstention", 1), ("abstention", 2)],
)
def test_what_one_or_two_of_forty_do_in_a_canary_is_their_habit(wrong: str, people: int) -> None:
    few = tuple(f"u{n}" for n in range(people))

    def habit(who: str, rng: Random) -> dict[str, object]:
        return WRONG[wrong] if who in few else asks(0.5, 0.0)(who, rng)

    assert decided(traffic(3000, habit, few)).action == "continue"


@pytest.mark.parametrize("wrong", [*WRONG, "reward", "answers"])
def test_the_main_client_counts_though_chance_puts_nobody_else_on_the_challenger(wrong: str) -> None:
    """Seven keys, of which one makes 95 of 100 requests."""
    written = wrong == "answers"
    bad = WRONG.get(wrong, {"abstained": False if written else None})
    good = {"abstained": None if bad.get("abstained") is None else False}
    seen = [
        replace(one, unit=(who, f"q{one.seq}"), arm="challenger" if who == "app" else "stable", **made)  # type: ignore[arg-type]
        for one in traffic(4000, lambda *_: {})
        for who, made in [("app", bad) if one.seq % 20 else (f"dev{one.seq % 120}", good)]
    ]
    rewards = {one.seq: Liked(1.0, 3.0, 1.0) for one in seen if one.arm == "stable"}
    if written:
        rewards |= {one.seq: Liked(0.0, 3.0, 0.0) for one in seen if one.arm == "challenger"}
    outcome = decided(seen, rewards=rewards, written=written)
    assert (outcome.action, outcome.code) == ("rollback", wrong)


@pytest.mark.parametrize(("wrong", "people"), [("faults", 2), ("answer_faults", 3), ("abstention", 3)])
def test_what_goes_wrong_for_all_in_a_canary_takes_it_back(wrong: str, people: int) -> None:
    arm = tuple(f"u{n}" for n in range(people))

    def habit(who: str, rng: Random) -> dict[str, object]:
        return WRONG[wrong] if who in arm else asks(0.5, 0.0)(who, rng)

    outcome = decided(traffic(700, habit, arm))
    assert (outcome.action, outcome.code) == ("rollback", wrong)


def test_most_of_a_canary_is_not_most_of_all_requests() -> None:
    """Four of forty have the challenger; one of them makes most of what it is asked, and half of that is partial."""
    arm = ("u0", "u1", "u2", "u3")

    def habit(who: str, rng: Random) -> dict[str, object]:
        return {"faulty": who == "u0" and rng.random() < 0.5}

    busy = [one for one in traffic(6000, habit, arm) if one.unit[0] not in arm[1:] or one.seq % 9 == 0]
    share = [one.unit[0] for one in busy if one.arm == "challenger"]
    assert share.count("u0") > len(share) / 2
    assert decided(busy).action == "continue"


def test_a_challenger_that_cannot_answer_its_only_user_is_taken_back_at_once() -> None:
    fails = {"arm": "stable", "fell_back": True, "faulty": True}
    seen = traffic(600, lambda who, _: fails if who == "u0" else {}, ("u0",))
    outcome = decided(seen)
    assert (outcome.action, outcome.code) == ("rollback", "fallbacks")
    assert sum(one.fell_back for one in seen) < 25


@pytest.mark.parametrize(("liked", "action"), [(1.0, "continue"), (0.1, "rollback")])
def test_who_never_clicks_is_told_from_what_nobody_clicks_on(liked: float, action: str) -> None:
    """Half of all people never click on anything; most of those in the canary are such."""
    arm = tuple(f"u{n}" for n in range(6 if liked == 1 else 20))
    silent = {f"u{n}" for n in range(PEOPLE) if n % 2 or n in (0, 2)}
    rng, seen = Random(3), traffic(3000, lambda *_: {}, arm)  # noqa: S311
    rewards = {
        one.seq: Liked(1.0, 3.0, 1.0)
        for one in seen
        if one.unit[0] not in silent and rng.random() < (liked if one.unit[0] in arm else 1.0)
    }
    outcome = decided(seen, rewards=rewards)
    assert (outcome.action, outcome.code) == (action, "guarded" if action == "continue" else "reward")


def visits(liked: float, *, start: int, people: int = 200, seed: int = 1) -> tuple[list[Seen], dict[int, Liked]]:
    """Somebody new every 12 s, who searches five times in five minutes; some click on anything, some on nothing."""
    rng = Random(seed)  # noqa: S311
    visits = [
        (12.0 * person + 60 * search + 20 * rng.random(), f"{start}-{person}", rng.random() < own)
        for person in range(people)
        for own in [liked * rng.betavariate(1.5, 1.5)]
        for search in range(5)
    ]
    seen, rewards = [], {}
    for seq, (at, who, likes) in enumerate(sorted(visits), start):
        made = Seen(seq=seq, at=start + at, arm="stable", release="s", unit=(who, f"q{seq}"), shown=(("c", ""),),
                    faulty=False, total_ms=10.0, abstained=None)  # fmt: skip
        seen.append(made)
        if likes:
            rewards[seq] = Liked(1.0, 5 + 15 * rng.random(), 1.0)
    return seen, rewards


@pytest.mark.parametrize(("liked", "most"), [(0.6, 700), (0.4, 150)])
def test_who_comes_new_after_a_promotion_is_nobody_beside_it(liked: float, most: int) -> None:
    """Some have always just come, and what they like is still to be seen: these are no other people."""
    reference = level(*visits(1.0, start=1))
    assert reference.spread > 0.2
    seen, rewards = visits(liked, start=100_000, seed=7)
    rollout = Rollout(version=2, stable="s", challenger=None, mode="off", previous="r")
    for count in range(50, most + 1, 50):
        folded = {("t", str(one.seq)): one for one in seen[:count]}
        outcome = decide(OnlineTest(rollout=rollout, reference=reference, seen=folded, rewards=rewards), Bounds())
        if outcome.action == "rollback":
            break
    assert (outcome.action, outcome.code) == ("rollback", "reward")


def test_those_of_a_trial_whose_likings_are_still_to_come_are_not_beside_it() -> None:
    """As many as were there before come new to the canary, in its last second."""
    arm = tuple(f"u{n}" for n in range(0, PEOPLE, 2))
    seen = traffic(2000, lambda *_: {}, arm)
    rng, last = Random(3), seen[-1]  # noqa: S311
    eager = {f"u{n}" for n in range(PEOPLE) if n % 4 > 1}
    rewards = {
        one.seq: Liked(1.0, 3.0, 1.0)
        for one in seen
        if rng.random() < (0.1 if one.arm == "challenger" else 0.9 if one.unit[0] in eager else 0.5)
    }
    new = [
        replace(last, seq=last.seq + n, unit=(f"new{n}", "q"), arm="challenger", at=last.at)
        for n in range(1, PEOPLE + 1)
    ]
    found = [decided(rows, rewards=rewards).figures["guards"]["reward"] for rows in (seen, [*seen, *new])]
    assert found[0] == found[1] > 0
