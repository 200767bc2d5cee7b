"""Evidence that may be looked at after every observation."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from kaizen.evaluation.sequential import gain, mean_above, share_above, share_interval

RUNS, LENGTH, ERROR = 300, 400, 0.1
NEED = log(1 / ERROR)


@pytest.mark.parametrize(("successes", "failures", "chance"), [(0, 0, 0.5), (7, 2, 0.5), (3, 9, 0.2), (0, 6, 0.7)])
def test_share_above_is_the_mixed_likelihood_ratio(successes: int, failures: int, chance: float) -> None:
    from scipy.integrate import quad

    mixed, _ = quad(lambda p: p**successes * (1 - p) ** failures / (1 - chance), chance, 1)
    assert share_above(successes, failures, chance) == pytest.approx(
        log(mixed / (chance**successes * (1 - chance) ** failures))
    )


def test_evidence_beyond_floating_point_is_none_and_finite() -> None:
    assert -1e4 < share_above(0, 50_000, 0.5) < -100
    assert share_above(50_000, 0, 0.5) > 30_000


def test_share_above_holds_its_error_rate_when_every_outcome_is_looked_at() -> None:
    outcomes = np.random.default_rng(1).random((RUNS, LENGTH)) < 0.5
    above = [_ever(np.cumsum(run)) for run in outcomes]
    assert 0 < np.mean(above) <= ERROR


def _ever(wins: np.ndarray) -> bool:
    return any(share_above(int(won), looked - int(won), 0.5, 4) >= NEED for looked, won in enumerate(wins, start=1))


def test_the_interval_holds_the_share_at_every_look() -> None:
    outcomes = np.random.default_rng(2).random((100, 60)) < 0.3
    missed = 0
    for run in outcomes:
        bounds = [share_interval(int(won), n - int(won), ERROR) for n, won in enumerate(np.cumsum(run), start=1)]
        missed += any(not low <= 0.3 <= high for low, high in bounds)
    assert missed <= 100 * ERROR
    assert share_interval(0, 0, ERROR) == (0.0, 1.0)
    low, high = share_interval(900, 100, ERROR)
    assert 0.85 < low < 0.9 < high < 0.94


def test_mean_above_holds_its_error_rate_when_every_value_is_looked_at() -> None:
    rng = np.random.default_rng(3)
    values = rng.choice([0.0, 0.2, 1.0], p=[0.6, 0.15, 0.25], size=(RUNS, LENGTH))
    mean = 0.15 * 0.2 + 0.25
    ever = [max(mean_above(run[:end], mean, 0.0) for end in range(1, LENGTH, 5)) >= NEED for run in values]
    assert 0 < np.mean(ever) <= ERROR


def test_mean_above_finds_a_small_gain() -> None:
    values = np.random.default_rng(4).choice([0.0, 1.0], p=[0.6, 0.4], size=1000)
    assert mean_above(values, 0.3, 0.0) > NEED
    assert mean_above(-values, -0.5, -1.0) > NEED


def test_gain_is_unbiased_and_less_spread_than_raw_weighting() -> None:
    rng = np.random.default_rng(5)
    treated = rng.random(20_000) < 0.2
    rewards = np.clip(0.6 + 0.05 * treated + 0.1 * rng.standard_normal(len(treated)), 0, 1)
    estimates = gain(rewards, treated, 0.2)
    assert estimates.mean() == pytest.approx(0.05, abs=0.01)
    assert estimates.std() < 0.5 * (rewards * np.where(treated, 5, -1.25)).std()
