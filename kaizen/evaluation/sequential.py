"""Evidence that may be looked at after every observation: e-processes, each a bet against a hypothesis.

An e-process starts at 1 and, while its hypothesis is true, ever exceeds 1 / a with probability at most a, however
often it is looked at (Ville's inequality). All functions return its natural logarithm, so the test is
`evidence >= log(1 / a)`.

    S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon: Time-uniform, nonparametric, nonasymptotic confidence sequences.
        Annals of Statistics 49(2), 2021 (mixtures).
    I. Waudby-Smith, A. Ramdas: Estimating means of bounded random variables by betting. JRSS B 86(1), 2024 (bets).
    R. Johari, P. Koomen, L. Pekelis, D. Walsh: Always valid inference: continuous monitoring of A/B tests.
        Operations Research 70(3), 2022 (why peeking needs this).
"""

from __future__ import annotations

from math import log

import numpy as np
import numpy.typing as npt

# scipy is imported where a trial is weighed: the fleet and the steward, which import this, can run for months without,
# and it costs each a second of start and 40 MB.

Values = npt.NDArray[np.float64]
_NONE = -1000.0  # less evidence than floating point can tell; finite, because it is kept as JSON
_MOST_STAKED = 0.5  # of the wealth in one bet: one surprise must not lose it all


def share_above(successes: int, failures: int, chance: float, prior: float = 1.0) -> float:
    """Evidence that outcomes succeed with a probability above `chance`, in (0, 1).

    The likelihood ratio against `chance`, mixed over Beta(prior, prior) cut to (chance, 1]. A larger `prior` bets on
    smaller departures from one half.
    """
    from scipy.special import betainc, betaln

    s, f = successes + prior, failures + prior
    posterior, cut = betainc(f, s, 1 - chance), betainc(prior, prior, 1 - chance)
    if posterior <= 0:
        return _NONE
    likelihood = successes * log(chance) + failures * log(1 - chance)
    return float(betaln(s, f) + log(posterior) - betaln(prior, prior) - log(cut) - likelihood)


def share_interval(successes: int, failures: int, error_rate: float) -> tuple[float, float]:
    """Confidence sequence for the share of successes: holds at all times at once with probability 1 - error_rate."""
    count = successes + failures
    if not count:
        return 0.0, 1.0
    from scipy.optimize import brentq
    from scipy.special import betaln

    mixed = float(betaln(successes + 1, failures + 1))

    def excess(share: float) -> float:
        likelihood = sum(n * log(p) for n, p in ((successes, share), (failures, 1 - share)) if n)
        return mixed - likelihood - log(1 / error_rate)

    middle, edge = successes / count, 1e-12
    low = float(brentq(excess, edge, middle)) if successes and excess(edge) > 0 else 0.0
    high = float(brentq(excess, middle, 1 - edge)) if failures and excess(1 - edge) > 0 else 1.0
    return low, high


def mean_above(values: Values, mean: float, lowest: float) -> float:
    """Evidence that values (n,), each at least `lowest` < `mean`, have an expectation above `mean`, in their order.

    Each bets the share of the wealth that would have grown it fastest on those before it (Waudby-Smith and Ramdas's
    aGRAPA, regularised by one value at `mean` with a quarter of the squared range).
    """
    return float(np.sum(np.log1p(_stakes(values, mean, lowest) * (values - mean))))


def _stakes(values: Values, mean: float, lowest: float) -> Values:
    """(n,) the stake on each value, from those before it alone."""
    count = np.arange(1, len(values) + 1)
    excess = values - mean
    before = (np.cumsum(excess) - excess) / count
    square = (np.cumsum(excess**2) - excess**2 + (mean - lowest) ** 2 / 4) / count
    stakes: Values = np.clip(before / square, 0, _MOST_STAKED / (mean - lowest))
    return stakes


def gain(rewards: Values, treated: npt.NDArray[np.bool_], weight: float) -> Values:
    """(n,) unbiased single estimates of the challenger's gain, for `mean_above(.., 0, -1 / min(weight, 1 - weight))`.

    Args:
        rewards: (n,) in [0, 1], one an identity, because its impressions depend on each other; in order.
        treated: (n,) whether chance gave the identity the challenger, which it does with probability `weight`.

    Inverse propensity weighting of what exceeds the mean reward so far, which takes most of the variance out.
    """
    count = np.arange(1, len(rewards) + 1)
    before = (np.cumsum(rewards) - rewards + 0.5) / count
    estimates: Values = (rewards - before) * np.where(treated, 1 / weight, -1 / (1 - weight))
    return estimates
