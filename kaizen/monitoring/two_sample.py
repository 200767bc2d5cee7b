"""Do two samples come from the same distribution? Tests with a p-value that holds, and an effect in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

PERMUTATIONS = 1999
SEED = 20


@dataclass(frozen=True, slots=True)
class TwoSample:
    """`p`: chance of a difference this large when there is none. `effect`: how large it is, 0 none, 1 all."""

    p: float
    effect: float


def energy_test(
    first: np.ndarray, second: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = SEED
) -> TwoSample:
    """Compare two clouds of points, (n, dim) and (m, dim), by their energy distance under permutation.

    The effect is the coefficient of inhomogeneity H = (2 E|X-Y| - E|X-X'| - E|Y-Y'|) / (2 E|X-Y|); the p-value is
    exact whatever the distribution, as long as the points are exchangeable (Székely and Rizzo, "Energy statistics",
    2013). Same samples and seed, same answer.
    """
    points = np.concatenate([first, second]).astype(np.float64)
    squares = (points**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0))
    np.fill_diagonal(distances, 0)
    draw = np.random.default_rng(seed)
    sides = np.zeros((permutations + 1, len(points)))
    sides[0, : len(first)] = 1
    for row in sides[1:]:
        row[draw.permutation(len(points))[: len(first)]] = 1
    inhomogeneity = _inhomogeneity(distances, sides, len(first), len(second))
    as_large = int((inhomogeneity[1:] >= inhomogeneity[0] - 1e-12).sum())
    return TwoSample(p=(1 + as_large) / (1 + permutations), effect=max(0.0, float(inhomogeneity[0])))


def _inhomogeneity(distances: np.ndarray, sides: np.ndarray, n: int, m: int) -> np.ndarray:
    """H for each division of the points; `sides` (divisions, points) is 1 on the first side."""
    reached = sides @ distances
    within_first = (reached * sides).sum(1)
    between = reached.sum(1) - within_first
    within_second = distances.sum() - 2 * between - within_first
    across = 2 * between / (n * m)
    spread = across - within_first / n**2 - within_second / m**2
    result: np.ndarray = np.divide(spread, across, out=np.zeros_like(spread), where=across > 0)
    return result


def score_test(first: np.ndarray, second: np.ndarray) -> TwoSample:
    """Compare two samples of numbers, (n,) and (m,): Kolmogorov and Smirnov's test; the effect is its distance."""
    result = stats.ks_2samp(first, second)
    return TwoSample(p=float(result.pvalue), effect=float(result.statistic))


def rate_test(first: tuple[int, int], second: tuple[int, int]) -> TwoSample:
    """Has a rate risen? Each is (cases, of how many). Fisher's exact test, one-sided; the effect is the rise."""
    (a, n), (b, m) = first, second
    p = stats.fisher_exact([[b, m - b], [a, n - a]], alternative="greater").pvalue
    return TwoSample(p=float(p), effect=max(0.0, b / m - a / n))
