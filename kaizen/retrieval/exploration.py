"""A little chance in the order of what is shown, so that learning can tell a good chunk from a good place.

T. Joachims, A. Swaminathan, T. Schnabel: Unbiased learning-to-rank with biased feedback, WSDM 2017, section 6: swapping
two positions at random lets the propensity of looking at them be estimated. Neighbours are swapped here: it costs the
reader next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def explore(ranked: Sequence[T], share: float, impression: str) -> tuple[list[T], list[float]]:
    """Swap, in the share `share` of the impressions, one pair of neighbours with probability one half.

    The draw follows from the impression's id alone, so that it can be made again.

    Returns:
        The order to show, and the propensity of each place: 0.5 at both places of the pair that was drawn, swapped or
        not, and 1 elsewhere.
    """
    order, propensities = list(ranked), [1.0] * len(ranked)
    chance = Random(f"explore {impression}")  # noqa: S311 (no secret)
    if len(order) < 2 or chance.random() >= share:
        return order, propensities
    place = chance.randrange(len(order) - 1)
    propensities[place] = propensities[place + 1] = 0.5
    if chance.random() < 0.5:
        order[place], order[place + 1] = order[place + 1], order[place]
    return order, propensities
