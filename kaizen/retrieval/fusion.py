"""One score of two signals: how near in meaning (cosine) and how much of the query's words (BM25)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from kaizen.config import Retrieval

Mode = Literal["hybrid", "dense", "lexical"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fused:
    """Scores of n candidates and what each signal gave to them: `scores == dense + lexical`, all (n,) float64."""

    scores: npt.NDArray[np.float64]
    dense: npt.NDArray[np.float64]
    lexical: npt.NDArray[np.float64]


def fuse(
    cosine: npt.NDArray[np.floating], bm25: npt.NDArray[np.floating], mode: Mode, settings: Retrieval, *, limit: float
) -> Fused:
    """Return the scores of n candidates under `mode`.

        hybrid:  dense_weight * cosine + lexical_weight * bm25 / limit
        dense:   cosine
        lexical: bm25 / limit

    BM25 is divided by a bound that depends on the query and the statistics alone, not by the best score that was
    found, so that the score of a chunk does not depend on the other candidates: neither the depth, nor a filter, nor
    a shard that is late changes the order of the rest. (A convex combination under theoretical bounds: Bruch, Gai
    and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023; docs/decisions.md has what was tried.)

    Args:
        cosine: (n,) in [-1, 1]; not read in mode lexical.
        bm25: (n,) from `lexical.bm25`; not read in mode dense.
        limit: `TermStatistics.limit()` under the statistics that `bm25` was computed with; 0 when no term of the
            query occurs anywhere, and then no chunk has a lexical score.
    """
    nothing = np.zeros(len(cosine))
    share = bm25.astype(np.float64) / limit if limit > 0 else nothing
    match mode:
        case "dense":
            dense, lexical = cosine.astype(np.float64), nothing
        case "lexical":
            dense, lexical = nothing, share
        case "hybrid":
            dense, lexical = settings.dense_weight * cosine.astype(np.float64), settings.lexical_weight * share
    return Fused(scores=dense + lexical, dense=dense, lexical=lexical)
