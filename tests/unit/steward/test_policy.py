"""Which rung is next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaizen.config import Learning
from kaizen.steward.policy import (
    SWEEP,
    SWEEP_MIN_TRUSTED,
    Choice,
    Facts,
    GiveUp,
    Learn,
    Try,
    choose,
)
from kaizen.steward.state import Attempt, Material

FACTS = Facts(settings=Learning(), left_cpu_s=100_000, trainable_generator=True)
PLENTY = Material(dataset="d", examples=10_000, queries=5000, demonstrations=100, questions=20)


def tried(*rungs: tuple[int, str, str, str, float]) -> list[Attempt]:
    return [
        Attempt(rung=rung, parent=parent, release=release, verdict=verdict, gain=gain, reason="So.")  # type: ignore[arg-type]
        for rung, parent, release, verdict, gain in rungs
    ]


def short(choice: Choice) -> tuple[object, ...]:
    if isinstance(choice, Learn):
        return "learn", choice.rung, choice.parent
    return ("try", choice.release) if isinstance(choice, Try) else ("give up", choice.outcome)


NO_1, NO_2 = (1, "s", "a", "reject", 0.0), (2, "s", "b", "reject", 0.0)
YES_1, YES_2 = (1, "s", "a", "promote", 0.01), (2, "s", "b", "promote", 0.03)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], ("learn", 1, "s")),
        ([NO_1], ("learn", 2, "s")),
        ([YES_1], ("learn", 2, "s")),
        ([NO_1, YES_2], ("learn", 1, "b")),
        ([NO_1, NO_2], ("learn", 3, "s")),
        ([YES_1, NO_2], ("try", "a")),
        ([NO_1, YES_2, (1, "b", "c", "promote", 0.05)], ("try", "c")),
        ([NO_1, YES_2, (1, "b", "c", "promote", 0.02)], ("try", "b")),
        ([NO_1, NO_2, (3, "s", "c", "promote", 0.05)], ("learn", 1, "c")),
        ([NO_1, NO_2, (3, "s", "c", "reject", 0.0)], ("learn", 4, "s")),
        ([NO_1, NO_2, (3, "s", "c", "reject", 0.0), (4, "s", "d", "reject", 0.0)], ("give up", "rejected")),
        ([NO_1, NO_2, (3, "s", "c", "failed", 0.0), (4, "s", "d", "keep_testing", 0.1)], ("try", "d")),
        ([NO_1, NO_2, (3, "s", "c", "failed", 0.0), (4, "s", "d", "keep_testing", -0.01)], ("try", "d")),
        ([NO_1, NO_2, (3, "s", "c", "failed", 0.0), (4, "s", "d", "keep_testing", -0.03)], ("give up", "rejected")),
        ([NO_1, NO_2, (3, "s", "c", "left_out", 0.0)], ("learn", 4, "s")),
        ([NO_1, NO_2, (3, "s", "c", "left_out", 0.0), (4, "s", "d", "reject", 0.0)], ("give up", "rejected")),
        ([(1, "s", "", "failed", 0.0)], ("learn", 2, "s")),
    ],
)
def test_the_ladder(attempts: list[tuple[int, str, str, str, float]], expected: tuple[object, ...]) -> None:
    assert short(choose(tried(*attempts), "s", PLENTY, FACTS)) == expected


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([], ("learn", 1, "s")),
        ([NO_1], ("learn", SWEEP, "s")),
        ([YES_1, (SWEEP, "s", "", "reject", 0.0)], ("learn", 2, "s")),
        ([YES_1, (SWEEP, "s", "w", "promote", 0.02), NO_2], ("try", "w")),
        ([NO_1, (SWEEP, "s", "w", "promote", 0.02), YES_2], ("learn", 1, "b")),
    ],
)
def test_settings_are_swept_where_there_are_trusted_judgements(
    attempts: list[tuple[int, str, str, str, float]], expected: tuple[object, ...]
) -> None:
    facts = replace(FACTS, trusted_queries=SWEEP_MIN_TRUSTED)
    assert short(choose(tried(*attempts), "s", PLENTY, facts)) == expected


@pytest.mark.parametrize(
    ("facts", "material", "why"),
    [
        (Facts(settings=Learning(max_rung=2), left_cpu_s=1e6), PLENTY, "learning.max_rung is 2"),
        (Facts(settings=Learning(), left_cpu_s=2000), PLENTY, "the budget leaves 2000"),
        (FACTS, Material(dataset="d", examples=900, queries=300, demonstrations=9), "300 queries and it needs 2000"),
        (FACTS, Material(dataset="d", examples=900, queries=300, demonstrations=9), "9 demonstrations"),
        (Facts(settings=Learning(), left_cpu_s=2000), PLENTY, "cannot be taught"),
        (FACTS, Material(dataset="d", examples=9, queries=3, demonstrations=99, questions=9), "9 held-out questions"),
        (replace(FACTS, left_cpu_s=2000, trusted_queries=20), PLENTY, "20 queries with trusted judgements"),
    ],
)
def test_what_cannot_help_or_is_too_dear_is_left_out_with_the_reason(
    facts: Facts, material: Material, why: str
) -> None:
    choice = choose(tried(NO_1, NO_2), "s", material, facts)
    assert isinstance(choice, GiveUp)
    assert why in choice.reason


def test_what_users_did_not_prefer_is_not_put_before_them_again() -> None:
    facts = Facts(settings=Learning(max_rung=1), left_cpu_s=1e6, losers=frozenset("a"))
    choice = choose(tried(YES_1), "s", PLENTY, facts)
    assert isinstance(choice, GiveUp)
    assert (choice.outcome, "users did not prefer" in choice.reason) == ("rejected", True)
