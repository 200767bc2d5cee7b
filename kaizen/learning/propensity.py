"""How likely a hit is looked at, by its position: from randomised positions where there are any, else by a prior.

Where the order of two neighbours was drawn at random, what stood above was as good as what stood below, so clicks
differ by examination alone: clicks at k+1 over clicks at k is examination(k+1) / examination(k) (swap interventions:
Joachims, Swaminathan and Schnabel, 2017). Interleaved lists show one chunk at several positions by chance; there the
same ratio is taken over the chunks that were seen at both, each side weighted to equal numbers (intervention
harvesting: Agarwal et al., "Estimating Position Bias without Intrusive Interventions", 2019).

The prior is examination 1 / position, the eta = 1 of the same authors. It enters as PRIOR_CLICKS clicks that are
shared out between k and k+1 as the prior has it: with none logged it is the estimate, with hundreds it is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kaizen.learning.evidence import Bools, Floats, Votes

PRIOR_CLICKS = 30.0
ETA = 1.0
_LEAST = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examination:
    """`by_position` (positions,): probability that the hit at position 1, 2, ... is looked at, relative to the first.

    clicks: (positions - 1,) randomised clicks that each step from one position to the next rests on.
    """

    by_position: Floats
    clicks: Floats

    def at(self, position: npt.NDArray[np.int32]) -> Floats:
        """Of each of (n,) positions; deeper ones count as the last."""
        found: Floats = self.by_position[np.minimum(position, len(self.by_position)) - 1]
        return found


def prior(positions: int) -> Floats:
    """Return 1 / position**ETA for positions 1 to `positions`."""
    return np.arange(1, positions + 1, dtype=np.float64) ** -ETA


def estimate(votes: Votes, positions: int, trust: Floats) -> Examination:
    """Estimate examination at `positions` positions.

    Args:
        votes: every time anything was seen, repeats included.
        trust: (identities,) from 0 to 1: how much the clicks of each count.
    """
    believed = prior(positions)
    steps, clicks = np.ones(positions), np.zeros(max(0, positions - 1))
    for upper in range(1, positions):
        at_upper, at_lower = _randomised_clicks(votes, upper, trust)
        expected = believed[upper] / believed[upper - 1]
        lower_share = (at_lower + PRIOR_CLICKS * expected / (1 + expected)) / (at_upper + at_lower + PRIOR_CLICKS)
        # Nobody looks harder at what stands lower.
        steps[upper] = min(1.0, lower_share / (1 - lower_share))
        clicks[upper - 1] = at_upper + at_lower
    return Examination(by_position=np.maximum(np.cumprod(steps), _LEAST), clicks=clicks)


def _randomised_clicks(votes: Votes, upper: int, trust: Floats) -> tuple[float, float]:
    """Clicks at position `upper` and at the next, of hits that chance alone put there."""
    swapped = votes.swap == upper
    high, low = (votes.of(swapped & (votes.position == position)) for position in (upper, upper + 1))
    drafted_high, drafted_low = (votes.of(votes.drafted & (votes.position == p)) for p in (upper, upper + 1))
    both = _balanced(drafted_high, drafted_low, trust)
    return _sum(high, trust) + both[0], _sum(low, trust) + both[1]


def _sum(votes: Votes, trust: Floats) -> float:
    return float((votes.clicked * trust[votes.who]).sum())


def _balanced(high: Votes, low: Votes, trust: Floats) -> tuple[float, float]:
    """Clicks on items that were seen on both sides, each side scaled to the number of times of the rarer one."""
    size = int(max(high.item.max(initial=-1), low.item.max(initial=-1))) + 1
    seen = np.stack([np.bincount(side.item, trust[side.who], size) for side in (high, low)])
    clicked = np.stack([np.bincount(side.item, side.clicked * trust[side.who], size) for side in (high, low)])
    scale = np.divide(seen.min(axis=0), seen, out=np.zeros(seen.shape), where=seen > 0)
    total = (clicked * scale).sum(axis=1)
    return float(total[0]), float(total[1])


def swapped_share(votes: Votes) -> float:
    """Share of what was seen that stood at a random position."""
    randomised: Bools = (votes.swap > 0) | votes.drafted
    return float(randomised.mean()) if len(votes) else 0.0
