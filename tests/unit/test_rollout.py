"""The rollout's transitions keep what must always hold; callers stay on their side, in the shares asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen import rollout
from kaizen.errors import Conflict, InvalidInput, KaizenError
from kaizen.records import Rollout, RolloutMode

RELEASES = st.sampled_from(["r1", "r2", "r3", "r4"])
MODES = cast("st.SearchStrategy[RolloutMode]", st.sampled_from(["off", "shadow", "canary", "ab", "interleave"]))
WEIGHTS = st.sampled_from([0.0, 0.05, 0.5, 1.0, 1.5])
STEPS: list[st.SearchStrategy[Callable[[Rollout], Rollout]]] = [
    st.builds(lambda r, m, w: lambda s: rollout.begin(s, r, m, w), RELEASES, MODES, WEIGHTS),
    st.builds(lambda m, w: lambda s: rollout.adjust(s, m, w), MODES, WEIGHTS),
    st.builds(lambda r: lambda s: rollout.promote(s, r), RELEASES),
    st.just(rollout.stop),
    st.just(rollout.rollback),
    st.just(rollout.retire),
]
STABLE = Rollout(version=7, stable="r1")
TRIAL = Rollout(version=7, stable="r1", challenger="r2", mode="ab", weight=0.5, previous="r0")


@given(st.lists(st.one_of(STEPS), max_size=20))
def test_whatever_is_done_the_row_makes_sense(steps: list[Callable[[Rollout], Rollout]]) -> None:
    state = STABLE
    for step in steps:
        try:
            after = step(state)
        except (Conflict, InvalidInput):
            continue
        assert after != state or after.mode != "off"
        assert after.stable is not None
        assert after.stable not in (after.challenger, after.previous)
        assert (after.challenger is None) == (after.mode == "off") == (after.weight == 0)
        assert 0 <= after.weight <= 1
        assert after.version == state.version  # what the ledger compares with
        state = after


def test_promote_and_back() -> None:
    promoted = rollout.promote(TRIAL, "r2")
    assert promoted == Rollout(version=7, stable="r2", previous="r1")
    assert rollout.rollback(promoted) == Rollout(version=7, stable="r1", previous="r2")
    assert rollout.retire(promoted) == Rollout(version=7, stable="r2")
    assert rollout.promote(TRIAL, "r9") == Rollout(version=7, stable="r9", previous="r1")
    assert rollout.stop(TRIAL) == Rollout(version=7, stable="r1", previous="r0")


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (lambda: rollout.begin(TRIAL, "r3", "ab", 0.5), Conflict),
        (lambda: rollout.begin(STABLE, "r1", "ab", 0.5), Conflict),
        (lambda: rollout.begin(Rollout(version=0, stable=None), "r1", "ab", 0.5), Conflict),
        (lambda: rollout.begin(STABLE, "r2", "off", 0.5), InvalidInput),
        (lambda: rollout.begin(STABLE, "r2", "ab", 0.0), InvalidInput),
        (lambda: rollout.begin(STABLE, "r2", "ab", 1.1), InvalidInput),
        (lambda: rollout.begin(STABLE, "r2", "ab", float("nan")), InvalidInput),
        (lambda: rollout.begin(STABLE, "r2", "canary", 0.6), InvalidInput),
        (lambda: rollout.adjust(STABLE, "ab", 0.5), Conflict),
        (lambda: rollout.stop(STABLE), Conflict),
        (lambda: rollout.promote(STABLE, "r1"), Conflict),
        (lambda: rollout.rollback(STABLE), Conflict),
        (lambda: rollout.retire(STABLE), Conflict),
    ],
)
def test_what_cannot_be_done_is_refused_with_advice(step: Callable[[], Rollout], error: type[KaizenError]) -> None:
    with pytest.raises(error) as raised:
        step()
    assert raised.value.advice


def trial(mode: RolloutMode, weight: float, challenger: str = "r2") -> Rollout:
    return Rollout(version=1, stable="r1", challenger=challenger, mode=mode, weight=weight)


@given(st.text(), st.text(), st.sampled_from(["canary", "ab"]), st.floats(0.01, 0.5))
def test_an_identity_stays_on_its_side(identity: str, impression: str, mode: RolloutMode, weight: float) -> None:
    arm = rollout.assign(trial(mode, weight), identity, impression)
    assert arm == rollout.assign(trial(mode, weight), identity, "another impression")
    if arm == "challenger":  # more weight only adds identities
        assert rollout.assign(trial("ab", weight + 0.1), identity) == "challenger"


@pytest.mark.parametrize("weight", [0.05, 0.2, 0.5, 1.0])
def test_the_shares_are_those_that_were_asked_for(weight: float) -> None:
    count = 20_000
    within = 4 * (count * weight * (1 - weight)) ** 0.5  # four standard deviations of a binomial
    names = [f"key{n}/user{n}" for n in range(count)]
    found = [
        sum(rollout.assign(trial("ab", weight), name) == "challenger" for name in names),
        sum(rollout.assign(trial("interleave", weight), "one", name) == "interleaved" for name in names),
        sum(rollout.shadows(trial("shadow", weight), name) for name in names),
    ]
    assert [abs(number - weight * count) <= within for number in found] == [True, True, True]


def test_the_next_challenger_is_drawn_anew() -> None:
    names = [f"user{n}" for n in range(4000)]
    first = {name for name in names if rollout.assign(trial("ab", 0.5), name) == "challenger"}
    second = {name for name in names if rollout.assign(trial("ab", 0.5, "r3"), name) == "challenger"}
    assert 850 < len(first & second) < 1150  # a quarter, not a half: nobody is the guinea pig each time


def test_only_the_mode_that_is_on_draws() -> None:
    names = [f"u{n}" for n in range(50)]
    for mode in ("off", "shadow"):
        assert {rollout.assign(trial(cast(RolloutMode, mode), 1.0), name, name) for name in names} == {"stable"}
    for mode in ("off", "canary", "ab", "interleave"):
        assert not any(rollout.shadows(trial(cast(RolloutMode, mode), 0.5), name) for name in names)
