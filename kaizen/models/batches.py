"""Texts of like length together: padding is work that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_ROUND = 8
Ids = npt.NDArray[np.int64]


def batches(
    lengths: Sequence[int], *, budget: int, longest: int, multiple: int = _ROUND
) -> Iterator[tuple[list[int], int]]:
    """Yield (rows, padded length), longest first, each at most `budget` tokens with padding, or one text.

    Lengths are rounded up to a `multiple` so that kernels and buffers are reused, but not above `longest`.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        length = min(-(-lengths[order[start]] // multiple) * multiple, longest)
        stop = start + max(1, budget // length)
        yield order[start:stop], length
        start = stop


def padded(sequences: Sequence[Sequence[int]], length: int) -> tuple[Ids, Ids]:
    """Return ids and mask, (n, length) int64 each; the mask is 1 where a token is."""
    ids = np.zeros((len(sequences), length), dtype=np.int64)
    mask = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask
