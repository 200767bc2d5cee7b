"""What a good vector is, and how token vectors become one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kaizen.errors import BadModel

Vectors = npt.NDArray[np.float32]  # (n, dim), rows L2-normalised
_UNIT = 1e-3


def bad_rows(vectors: Vectors) -> tuple[int, ...]:
    """Return the rows of (n, dim) that are not finite or not of unit length (a zero vector has no direction)."""
    norms = np.linalg.norm(vectors, axis=1)
    good = np.isfinite(norms) & (np.abs(norms - 1) < _UNIT)
    return tuple(int(row) for row in np.flatnonzero(~good))


def refuse_bad(vectors: Vectors, bad: Sequence[int]) -> Vectors:
    """Return `vectors`; raise BadModel when any row is bad."""
    if bad:
        raise BadModel(f"The embedder gave {len(bad)} of {len(vectors)} vectors that are NaN, infinite or zero.",
                       advice="Do not use this model; or quarantine the texts that embed_checked reports.")  # fmt: skip
    return vectors
