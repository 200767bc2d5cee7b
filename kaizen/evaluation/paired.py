"""Two releases on the same queries: how much better, how sure, and how small a gain could have been seen.

A difference is proven when the bootstrap and the randomisation both say so. They agree where many queries change. Where
few do, the bootstrap's bound alone calls chance a gain too often: when 3 of 100 gain and none loses, it is above 0, and
one throw of signs in eight gives as much.

M. Smucker, J. Allan, B. Carterette: A comparison of statistical significance tests for information retrieval
    evaluation. CIKM 2007 (randomisation; the bootstrap agrees with it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Values = npt.NDArray[np.float64]
ROUNDS = 4000
LEVEL = 0.95  # of the one-sided bounds, so the interval covers 90 %
POWER = 0.8
_BATCH_VALUES = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One metric on both sides.

    Attributes:
        stable, candidate: means over the queries.
        difference: candidate minus stable. low, high: each holds with 95 % (percentile bootstrap over the queries).
        p, p_worse: chance of a difference as large or larger, and as small or smaller, if the sides could be swapped
            query by query (randomisation).
        smallest: the least gain that a test of this size finds four times in five.
    """

    queries: int
    stable: float
    candidate: float
    difference: float
    low: float
    high: float
    p: float
    p_worse: float
    smallest: float

    @property
    def better(self) -> bool:
        """Whether the candidate is proven better."""
        return proven(self.low > 0, self.p)

    @property
    def worse(self) -> bool:
        """Whether the candidate is proven worse."""
        return proven(self.high < 0, self.p_worse)

    @property
    def doubt(self) -> str:
        """For people: why one that is not `better` is not."""
        if self.low > 0:
            likely = f"chance alone gives as much with p {self.p:.2g}, and {1 - LEVEL:.2g} is borne"
            return f"{likely}: few queries changed, and more judged ones may prove it"
        return f"a gain of {self.smallest:.3f} would have been found four times in five"

    def record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def compare(stable: Mapping[str, float], candidate: Mapping[str, float], *, seed: int = 0) -> Paired:
    """Compare two measurements, query -> value, of the same queries (at least one)."""
    names = sorted(stable)
    if names != sorted(candidate) or not names:
        raise ValueError("both sides must be measured on the same queries, at least one")
    before, after = (np.array([side[name] for name in names], np.float64) for side in (stable, candidate))
    differences = after - before
    rng = np.random.default_rng(seed)
    resampled = _means(differences, lambda shape: rng.integers(shape[1], size=shape))
    flipped = _signed_means(differences, rng)
    low, high = np.quantile(resampled, [1 - LEVEL, LEVEL])
    mean = float(differences.mean())
    return Paired(
        queries=len(names),
        stable=float(before.mean()),
        candidate=float(after.mean()),
        difference=mean,
        low=float(low),
        high=float(high),
        p=_share(flipped >= mean - 1e-12),
        p_worse=_share(flipped <= mean + 1e-12),
        smallest=_smallest(differences),
    )


def proven(beyond_zero: bool, p: float) -> bool:
    """Whether bootstrap (the bound lies beyond 0) and randomisation both say so."""
    return beyond_zero and p <= 1 - LEVEL


def _share(as_far: npt.NDArray[np.bool_]) -> float:
    """(ROUNDS,) -> the p-value; what was seen is one throw more."""
    return float((np.count_nonzero(as_far) + 1) / (ROUNDS + 1))


def _means(values: Values, draw: Callable[[tuple[int, int]], npt.NDArray[np.int64]]) -> Values:
    """(ROUNDS,) means of samples drawn with replacement."""
    return np.concatenate([values[draw((rounds, len(values)))].mean(axis=1) for rounds in _batches(len(values))])


def _signed_means(values: Values, rng: np.random.Generator) -> Values:
    """(ROUNDS,) means with every difference's sign thrown anew."""
    batches = [rng.integers(2, size=(rounds, len(values))) * 2 - 1 for rounds in _batches(len(values))]
    return np.concatenate([(signs * values).mean(axis=1) for signs in batches])


def _batches(count: int) -> list[int]:
    size = max(1, min(ROUNDS, _BATCH_VALUES // count))
    whole, rest = divmod(ROUNDS, size)
    return [size] * whole + ([rest] if rest else [])


def _smallest(differences: Values) -> float:
    """The mean at which a one-sided z test of this size and spread has the stated power; 1 for a single query."""
    if len(differences) < 2:
        return 1.0
    return float((ndtri(LEVEL) + ndtri(POWER)) * differences.std(ddof=1) / sqrt(len(differences)))
