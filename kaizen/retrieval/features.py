"""What a ranker knows of a chunk for a query: a handful of numbers that the shards' answers already carry.

None depends on the other candidates, so neither the depth, nor a filter, nor a late shard changes a chunk's features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kaizen.retrieval.lexical import TermStatistics
from kaizen.retrieval.query import Candidates

FEATURES = ("cosine", "bm25_share", "coverage", "log_length", "first", "log_terms", "specificity")
"""Their names and order, as impressions log them and rankers record them:

    cosine       of the query's and the chunk's vector
    bm25_share   BM25 divided by its limit for the query (see fusion.fuse)
    coverage     share of the query's terms that the chunk holds, weighted by idf
    log_length   ln(1 + terms in the chunk)
    first        1 when it is the first chunk of its document, else 0
    log_terms    ln(1 + terms of the query); the same for all its candidates
    specificity  mean idf of the query's terms over ln(1 + chunks): near 1, rare words; the same for all its candidates
"""


def features(
    candidates: Candidates, bm25: npt.NDArray[np.floating], statistics: TermStatistics
) -> npt.NDArray[np.float32]:
    """Return (n, len(FEATURES)) float32 for n candidates.

    Args:
        bm25: (n,) of the same candidates under `statistics`.
        statistics: summed over all shards.
    """
    weights, terms = np.array(statistics.weights()), sum(statistics.counts)
    limit, total = statistics.limit(), float(weights.sum())
    held = (candidates.frequencies > 0) @ weights if terms else np.zeros(len(candidates))
    table = np.empty((len(candidates), len(FEATURES)), np.float32)
    table[:, 0] = candidates.cosine
    table[:, 1] = bm25 / limit if limit > 0 else 0.0
    table[:, 2] = held / total if total > 0 else 0.0
    table[:, 3] = np.log1p(candidates.lengths)
    table[:, 4] = candidates.ordinal == 0
    table[:, 5] = np.log1p(terms)
    table[:, 6] = total / terms / np.log1p(statistics.documents) if terms and statistics.documents else 0.0
    return table
