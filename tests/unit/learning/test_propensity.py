"""Examination by position: learnt where chance decided who stands higher, believed elsewhere."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from kaizen.learning.click_model import PositionBased
from kaizen.learning.evidence import Evidence
from kaizen.learning.propensity import estimate, prior
from tests.unit.learning.world import World, seeded, visited


def evidence(world: World) -> Evidence:
    feedback = defaultdict(list)
    for given in world.feedback:
        feedback[given.impression_id].append(given)
    found = Evidence()
    for impression in world.impressions:
        found.add(impression, feedback[impression.id], ())
    return found


def trusted(found: Evidence) -> np.ndarray:
    return np.ones(len(found.identities))


def test_without_randomised_positions_the_prior_stands() -> None:
    found = evidence(visited(40, 4))
    examination = estimate(found.votes(), 10, trusted(found))
    assert examination.by_position == pytest.approx(prior(10))
    assert examination.clicks.sum() == 0


def swapped_world(eta: float, sessions: int) -> World:
    """Two documents, equally good, in an order that chance decides."""
    world, chance, model = World(), seeded(3), PositionBased(eta=eta)
    for number in range(sessions):
        documents = ["a", "b"] if chance.random() < 0.5 else ["b", "a"]
        shown = world.show(f"query {number}", documents, model.clicks([True, True], chance), user=f"u{number % 40}")
        drawn = tuple(replace(chunk, propensity=0.5) for chunk in shown.shown)
        world.impressions[-1] = replace(shown, shown=drawn)
    return world


@pytest.mark.parametrize("eta", [0.3, 2.0])
def test_swaps_find_the_truth_against_the_prior(eta: float) -> None:
    found = evidence(swapped_world(eta, 4000))
    assert estimate(found.votes(), 2, trusted(found)).by_position[1] == pytest.approx(2**-eta, abs=0.06)


def test_few_swaps_move_the_prior_a_little() -> None:
    found = evidence(swapped_world(0.0, 12))  # both positions are looked at equally
    assert 0.5 < estimate(found.votes(), 2, trusted(found)).by_position[1] < 0.75


def test_interleaved_lists_find_it_too() -> None:
    world, chance, model = World(), seeded(5), PositionBased(eta=2)
    for number in range(3000):
        documents = ["a", "b"] if chance.random() < 0.5 else ["b", "a"]
        clicked = model.clicks([True, True], chance)
        shown = world.show(f"query {number % 30}", documents, clicked, user=f"u{number % 40}", arm="interleaved")
        drafted = tuple(replace(chunk, team="stable", propensity=0.5) for chunk in shown.shown)
        world.impressions[-1] = replace(shown, shown=drafted)
    found = evidence(world)
    assert estimate(found.votes(), 2, trusted(found)).by_position[1] == pytest.approx(1 / 4, abs=0.05)


def test_who_is_not_trusted_teaches_nothing() -> None:
    found = evidence(swapped_world(2.0, 1000))
    examination = estimate(found.votes(), 2, np.zeros(len(found.identities)))
    assert examination.by_position == pytest.approx(prior(2))
