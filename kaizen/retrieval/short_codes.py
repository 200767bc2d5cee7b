"""An IVF over short codes: few dimensions that tell most, half a byte for two of them, read from the lists that matter.

How many dimensions are kept follows from the vectors' spectrum, and how many lists a query reads is measured on the
vectors themselves when the index is built: in a collection of clear topics few, in one without structure a large part.
Both are part of the FAISS file.

In a large index each row lies in two lists, so that fewer must be read until one of them comes. The second is chosen
for the queries that the first is bad for (SOAR, arXiv 2404.00774): what a row differs by from its first centre, it
should differ by from the second in another direction. A search finds such a row twice: see `without_twins`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np

# Lists: so many square roots of the rows, for rows that lie in one list and in two. A longer list is read faster a row
# than several short ones, and with more lists the table of their centres takes what is saved.
LISTS: Mapping[int, float] = {1: 2, 2: 4}
TWICE_FROM = 700_000  # at 500,000 two lists take as long as one, with twice the bytes and the time to build
SECOND_OF = 8  # nearest lists; of sixteen, no fewer lists must be read
WITH_TWINS = 1.25  # codes to fetch for each row that is wanted: a quarter of them are of rows that came already
TRAINING_ROUNDS = 6
TRAINING_ROWS = 40  # a list; FAISS asks for 39
TRAINING_ROWS_LEAST = 10_000
ROTATION_ROWS = 80_000  # of those, at most, tell the spectrum
CODE_ROWS = 20_000  # and these, at most, what rows differ by from their centres
SHORT_CODES_LEAST = 39 * 16  # rows that FAISS wants to learn codes of half a byte from; of 15 it learns none
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
BEST_FIRST = 11  # FAISS's number for: one query after another, lists in the order of their centres
BLOCK = 50_000  # rows that are worked on at a time, so that copies stay small


def build_short_codes(vectors: np.ndarray) -> faiss.Index:
    """An index over `vectors` (rows, dim) float32 by inner product; row i has id i.

    Its `ntotal` is the number of rows, that of the IVF in it the number of codes.
    """
    rows = len(vectors)
    copies = 2 if rows >= TWICE_FROM else 1
    lists = max(1, min(int(LISTS[copies] * np.sqrt(rows)), rows // TRAINING_ROWS))
    chance = np.random.default_rng(0)
    size = min(rows, max(TRAINING_ROWS * lists, TRAINING_ROWS_LEAST))
    sample = vectors[np.sort(chance.choice(rows, size, replace=False))]
    rotation = _rotation(sample[:: -(-size // ROTATION_ROWS)], chance)
    coded = _trained(rotation.apply(sample), lists)
    del sample
    homes = np.empty((rows, copies), np.int64)
    for first in range(0, rows, BLOCK):
        block = rotation.apply(np.ascontiguousarray(vectors[first : first + BLOCK]))
        homes[first : first + BLOCK] = _homes(block, coded.quantizer, copies)
        _add(coded, block, first, homes[first : first + BLOCK])
    ivf = _packed(coded)
    ivf.nprobe = _lists_to_read(vectors, rotation, ivf, homes, chance)
    index = faiss.IndexPreTransform(rotation, ivf)
    index.ntotal = rows
    return index


def read_best_first(index: faiss.Index) -> None:
    """Make FAISS read lists best first, one after the other.

    By itself it takes them in the order of their numbers, so that more is kept before the best are known, and copies
    its tables for each: meant for many queries at a time. A million rows .1 to .3 ms of 2.4, 26,000 a quarter.
    """
    ivf = faiss.downcast_index(faiss.extract_index_ivf(index))
    if isinstance(ivf, faiss.IndexIVFPQFastScan):
        ivf.implem = BEST_FIRST


def has_twins(index: faiss.Index) -> bool:
    """Whether each row lies in two lists."""
    return bool(faiss.extract_index_ivf(index).ntotal > index.ntotal)


def without_twins(rows: np.ndarray) -> np.ndarray:
    """The `rows` that a search found (at least one), each once, in ascending order."""
    rows = np.sort(rows)
    new = np.empty(len(rows), np.bool_)
    new[0] = True
    np.not_equal(rows[1:], rows[:-1], out=new[1:])
    return rows[new]


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


def _trained(sample: np.ndarray, lists: int) -> faiss.IndexIVFPQ:
    """Centres and codes for `sample` (rows, kept), an index without rows.

    Centres are directions. As long as their rows reach along them on average, what is left of a row is shortest, and
    so are the codes' errors.
    """
    kept = sample.shape[1]
    quantizer = faiss.IndexFlatIP(kept)
    coded = faiss.IndexIVFPQ(quantizer, kept, lists, kept // 2, 4, faiss.METRIC_INNER_PRODUCT)
    coded.cp.niter, coded.cp.max_points_per_centroid = TRAINING_ROUNDS, TRAINING_ROWS
    coded.train_q1(len(sample), faiss.swig_ptr(sample), False, coded.metric_type)
    some = sample[:: -(-len(sample) // CODE_ROWS)]
    reach, home = quantizer.search(some, 1)
    centres = quantizer.reconstruct_n(0, lists) * float(reach.mean())
    quantizer.reset()
    quantizer.add(centres)
    coded.pq.train(np.ascontiguousarray(some - centres[home[:, 0]]))
    coded.is_trained = True
    return coded


def _homes(block: np.ndarray, quantizer: faiss.IndexFlat, copies: int) -> np.ndarray:
    """(rows, copies): the lists in which each row of `block` lies, the nearest first."""
    if copies == 1:
        nearest: np.ndarray = quantizer.search(block, 1)[1]
        return nearest
    _reach, near = quantizer.search(block, min(SECOND_OF, quantizer.ntotal))
    centres = quantizer.reconstruct_n(0, quantizer.ntotal)
    first = block - centres[near[:, 0]]
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    loss = np.full(near.shape, np.inf, np.float32)
    for place in range(1, near.shape[1]):
        second = block - centres[near[:, place]]
        loss[:, place] = _dots(second, second) + _dots(second, first) ** 2
    return np.stack([near[:, 0], near[np.arange(len(near)), loss.argmin(axis=1)]], axis=1)


def _dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.einsum("ij,ij->i", left, right)
    return found


def _add(coded: faiss.IndexIVFPQ, block: np.ndarray, first: int, homes: np.ndarray) -> None:
    """Put the rows `first` and following into their lists, each beside what it differs by from that centre."""
    ids = np.arange(first, first + len(block))
    for home in np.ascontiguousarray(homes.T):
        coded.add_core(len(block), *(faiss.swig_ptr(array) for array in (block, ids, home)))


def _packed(coded: faiss.IndexIVFPQ) -> faiss.IndexIVFPQFastScan:
    """The same in the layout that is read fast. Of `coded` it needs the centres, so that the rest may go."""
    ivf = faiss.IndexIVFPQFastScan(coded)
    ivf.orig_invlists, ivf.referenced_objects = None, coded.referenced_objects
    return ivf


def _lists_to_read(
    vectors: np.ndarray,
    rotation: faiss.LinearTransform,
    ivf: faiss.IndexIVF,
    homes: np.ndarray,
    chance: np.random.Generator,
) -> int:
    """How many lists hold FOUND of the nearest rows of queries like those that people ask."""
    queries = _like_queries(vectors, chance)
    nearest = _nearest(vectors, queries)
    order = ivf.quantizer.search(rotation.apply(queries), ivf.nlist)[1]
    place = np.argsort(order, axis=1)  # place[q, list]: when query q comes to a list
    comes = np.min([np.take_along_axis(place, home[nearest], axis=1) for home in homes.T], axis=0)
    needed = int(np.quantile(comes, FOUND, method="higher")) + 1
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
