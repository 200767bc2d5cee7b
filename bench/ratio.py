"""Ratios of what was measured in turns: each is taken within its round, since the machine changes between them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median over the rounds, to three digits."""
    return round(median(ratios(above, below)), 3)
