"""The k-th best of many scores, told from a sample, is the one that sorting finds."""

from __future__ import annotations

import numpy as np
import pytest

from kaizen.retrieval.max_score import SAMPLE, kth_best


@pytest.mark.parametrize("k", [1, 50, 3_000])
@pytest.mark.parametrize("rows", [3_000, 3 * SAMPLE, 50 * SAMPLE])
@pytest.mark.parametrize("kind", ["all different", "few values", "all equal", "rising", "falling", "some high ones"])
def test_the_kth_best(kind: str, rows: int, k: int) -> None:
    chance = np.random.default_rng(rows + k)
    scores = {
        "all different": lambda: chance.random(rows),
        "few values": lambda: chance.integers(0, 4, rows) / 4.0,
        "all equal": lambda: np.full(rows, 0.5),
        "rising": lambda: np.arange(rows, dtype=float),
        "falling": lambda: -np.arange(rows, dtype=float),
        "some high ones": lambda: np.where(np.arange(rows) % 997 == 5, 9.0 + chance.random(rows), chance.random(rows)),
    }[kind]()
    assert kth_best(scores, k) == np.sort(scores)[-k]
