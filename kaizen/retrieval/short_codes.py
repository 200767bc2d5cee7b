"""An IVF over short codes: few dimensions that tell most, half a byte for two of them, read from the lists that matter.

How many dimensions are kept follows from the vectors' spectrum, and how many lists a query reads is measured on the
vectors themselves when the index is built: in a collection of clear topics few, in one without structure a large part.
Both are part of the FAISS file.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

# Lists: so many square roots of the rows. A longer list is read faster a row than several short ones.
LISTS = 2
TRAINING_ROUNDS = 6
TRAINING_ROWS = 40  # a list; FAISS asks for 39
TRAINING_ROWS_LEAST = 10_000
# A dimension of variance v adds v^2 to the variance of a product of two vectors. What is left out is at most this
# share of the sum of them; dimensions are kept in dozens that fill a register.
LEFT_OUT = 0.015
DIMENSIONS_STEP = 32
# Of the nearest rows of the queries that the lists are tried with, so many must lie in the lists that are read.
FOUND = 0.99
LISTS_LEAST = 256  # what people ask can lie otherwise than what was tried, and of a small index all is read in no time
TRIED_QUERIES = 128
TRIED_NEAREST = 10
# Such a query lies as near to its chunk as queries do (cosine), and is otherwise a mixture of so many others.
TRIED_COSINE = 0.6
TRIED_MIXTURE = 32
BLOCK = 50_000  # rows that are worked on at a time, so that copies stay small


def build_short_codes(vectors: np.ndarray) -> faiss.Index:
    """An index over `vectors` (rows, dim) float32 by inner product; row i has id i."""
    rows = len(vectors)
    lists = max(1, min(int(LISTS * np.sqrt(rows)), rows // TRAINING_ROWS))
    chance = np.random.default_rng(0)
    size = min(rows, max(TRAINING_ROWS * lists, TRAINING_ROWS_LEAST))
    sample = vectors[np.sort(chance.choice(rows, size, replace=False))]
    rotation = _rotation(sample, chance)
    kept = rotation.d_out
    ivf = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(kept), kept, lists, kept // 2, 4, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.niter, ivf.cp.max_points_per_centroid = TRAINING_ROUNDS, TRAINING_ROWS
    ivf.train(rotation.apply(sample))
    index = faiss.IndexPreTransform(rotation, ivf)
    for first in range(0, rows, BLOCK):
        index.add(vectors[first : first + BLOCK])
    ivf.nprobe = _lists_to_read(vectors, rotation, ivf, chance)
    return index


def parameters(index: faiss.Index, selector: Any) -> faiss.SearchParameters:  # noqa: ANN401 (FAISS is not typed)
    """What a search of such an index is called with. One from before lists were measured reads a third of them."""
    if not isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersIVF(sel=selector, nprobe=max(256, index.nlist // 3))
    ivf = faiss.extract_index_ivf(index)
    return faiss.SearchParametersPreTransform(index_params=faiss.SearchParametersIVF(sel=selector, nprobe=ivf.nprobe))


def _rotation(sample: np.ndarray, chance: np.random.Generator) -> faiss.LinearTransform:
    """Onto the dimensions that matter, and there turned at random, so that each tells as much as any other.

    Not centred: a mean that is taken off would change the order of inner products.
    """
    dim = sample.shape[1]
    values, axes = np.linalg.eigh(sample.T.astype(np.float64) @ sample / len(sample))
    told = np.cumsum(values[::-1] ** 2)
    needed = int(np.searchsorted(told, (1 - LEFT_OUT) * told[-1])) + 1
    kept = min(-(-needed // DIMENSIONS_STEP) * DIMENSIONS_STEP, dim)
    turn = np.linalg.qr(chance.standard_normal((kept, kept)))[0]
    matrix = np.zeros((kept + kept % 2, dim), np.float32)  # codes are of two dimensions
    matrix[:kept] = turn @ axes[:, ::-1][:, :kept].T
    rotation = faiss.LinearTransform(dim, len(matrix), False)
    faiss.copy_array_to_vector(matrix.ravel(), rotation.A)
    rotation.is_trained = True
    return rotation


def _lists_to_read(
    vectors: np.ndarray, rotation: faiss.LinearTransform, ivf: faiss.IndexIVF, chance: np.random.Generator
) -> int:
    """How many lists hold FOUND of the nearest rows of queries like those that people ask."""
    queries = _like_queries(vectors, chance)
    nearest = _nearest(vectors, queries)
    order = ivf.quantizer.search(rotation.apply(queries), ivf.nlist)[1]
    place = np.argsort(order, axis=1)  # place[q, list]: when query q comes to a list
    home = ivf.quantizer.search(rotation.apply(vectors[nearest.ravel()]), 1)[1].reshape(nearest.shape)
    needed = int(np.quantile(np.take_along_axis(place, home, axis=1), FOUND, method="higher")) + 1
    return min(max(needed, LISTS_LEAST), int(ivf.nlist))


def _like_queries(vectors: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """(TRIED_QUERIES, dim): each near to one row; the rest of it is like any of them and near to none."""
    own = vectors[chance.integers(0, len(vectors), TRIED_QUERIES)]
    others = vectors[chance.integers(0, len(vectors), (TRIED_QUERIES, TRIED_MIXTURE))]
    signs = chance.choice([-1.0, 1.0], (TRIED_QUERIES, TRIED_MIXTURE, 1)) / np.sqrt(TRIED_MIXTURE)
    mixed = TRIED_COSINE * own + np.sqrt(1 - TRIED_COSINE**2) * (signs * others).sum(axis=1)
    queries: np.ndarray = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    return queries


def _nearest(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(len(queries), TRIED_NEAREST): the rows with the highest inner products."""
    count = min(TRIED_NEAREST, len(vectors))
    heap = faiss.ResultHeap(len(queries), count, keep_max=True)
    for first in range(0, len(vectors), BLOCK):
        scores, rows = faiss.knn(queries, vectors[first : first + BLOCK], count, faiss.METRIC_INNER_PRODUCT)
        heap.add_result(scores, rows + first)
    heap.finalize()
    found: np.ndarray = heap.I
    return found
