"""The tests hold their level when nothing changed, and see what did."""

from __future__ import annotations

import numpy as np
import pytest

from kaizen.monitoring.two_sample import energy_test, rate_test, score_test

DIM = 16


def topics(draw: np.random.Generator, count: int, shares: tuple[float, ...]) -> np.ndarray:
    """(count, DIM) unit vectors around a direction a topic, as embeddings of queries are."""
    centres = np.random.default_rng(1).normal(size=(len(shares), DIM))
    points = centres[draw.choice(len(shares), count, p=shares)] + draw.normal(scale=0.8, size=(count, DIM))
    found: np.ndarray = points / np.linalg.norm(points, axis=1, keepdims=True)
    return found


def test_no_change_is_called_a_change_no_more_often_than_stated() -> None:
    draw = np.random.default_rng(2)
    shares = (0.5, 0.3, 0.2)
    alarms = sum(
        energy_test(topics(draw, 80, shares), topics(draw, 50, shares), permutations=99, seed=number).p <= 0.05
        for number in range(200)
    )
    assert alarms <= 18  # 10 expected; more than 18 happens once in 150 runs of an honest test


def test_a_new_topic_is_seen() -> None:
    draw = np.random.default_rng(3)
    found = energy_test(topics(draw, 300, (0.5, 0.5, 0.0)), topics(draw, 200, (0.3, 0.3, 0.4)))
    assert found.p <= 0.002
    assert found.effect > 0.01


def test_the_same_cloud_has_no_effect() -> None:
    points = np.random.default_rng(4).normal(size=(60, 3))
    assert energy_test(points, points.copy()).p > 0.9
    assert energy_test(np.ones((5, 3)), np.ones((5, 3))).effect == 0


def test_scores() -> None:
    draw = np.random.default_rng(5)
    before, after = draw.normal(0.6, 0.1, 500), draw.normal(0.5, 0.1, 300)
    assert score_test(before, after).p < 1e-6
    assert score_test(before, draw.normal(0.6, 0.1, 300)).p > 0.01


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [((10, 100), (10, 100), 0.0), ((10, 100), (40, 100), 0.3), ((40, 100), (5, 100), 0)],
)
def test_rates_are_one_sided(before: tuple[int, int], after: tuple[int, int], expected: float) -> None:
    found = rate_test(before, after)
    assert found.effect == pytest.approx(expected)
    assert (found.p < 0.001) == (expected > 0.2)
