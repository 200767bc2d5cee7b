"""Simulated people click as their model says."""

from __future__ import annotations

from collections import Counter

import pytest

from kaizen.errors import InvalidInput
from kaizen.learning.click_model import (
    Cascade,
    ClickModelName,
    PositionBased,
    click_model,
    hostile_clicks,
    noise_clicks,
)
from tests.unit.learning.world import seeded

MANY = 20_000


def rates(model: PositionBased | Cascade, relevant: list[bool]) -> list[float]:
    chance = seeded(0)
    clicks = Counter(place for _ in range(MANY) for place in model.clicks(relevant, chance))
    return [clicks[place] / MANY for place in range(len(relevant))]


def test_position_based_clicks_are_examination_times_attraction() -> None:
    found = rates(PositionBased(miss=0.1, slip=0.2), [True, False, True, False])
    assert found == pytest.approx([0.9, 0.2 / 2, 0.9 / 3, 0.2 / 4], abs=0.01)


def test_eta_is_how_fast_attention_falls() -> None:
    assert rates(PositionBased(eta=2, miss=0), [False, True]) == pytest.approx([0, 1 / 4], abs=0.01)
    assert rates(PositionBased(eta=0, miss=0), [False, True]) == [0, 1]


def test_a_cascade_ends_with_the_first_click() -> None:
    assert rates(Cascade(miss=0.2), [False, True, True]) == pytest.approx([0, 0.8, 0.2 * 0.8], abs=0.01)
    assert all(len(Cascade(slip=0.5).clicks([True] * 5, seeded(seed))) <= 1 for seed in range(100))


def test_noise_falls_anywhere_and_on_nothing_when_there_is_nothing() -> None:
    chance = seeded(0)
    clicks = Counter(place for _ in range(MANY) for place in noise_clicks(4, chance))
    assert [clicks[place] / MANY for place in range(4)] == pytest.approx([0.25] * 4, abs=0.02)
    assert noise_clicks(0, chance) == []


def test_hostile_people_click_what_they_push_wherever_it_shows() -> None:
    assert hostile_clicks(["a", "b", "c", "b"], {"b", "z"}) == [1, 3]


@pytest.mark.parametrize("name", ["position", "cascade"])
def test_the_same_seed_gives_the_same_clicks(name: ClickModelName) -> None:
    model = click_model(name)
    once, again = ([model.clicks([True, False, True], seeded(seed)) for seed in range(50)] for _ in range(2))
    assert once == again


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(InvalidInput):
        click_model("psychic")  # type: ignore[arg-type]
