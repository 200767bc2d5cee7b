"""Vectors of one segment: a FAISS index of the kind that its size calls for, exact where a filter is narrow.

Vectors are L2-normalised, so inner product is cosine. `vectors.npy` always lies beside the FAISS file, mapped and
not loaded: it gives exact cosines for re-scoring, for narrow filters and for compaction. A flat index is not
written twice: it is made from that file on load.

FAISS checks nothing on load and a NaN query answers -1 without an error, so sums are verified before (see
`storage.object_store`) and queries are checked here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from kaizen.errors import BadModel, ConfigError, Corrupt
from kaizen.retrieval.short_codes import (
    SHORT_CODES_LEAST,
    WITH_TWINS,
    build_short_codes,
    has_twins,
    parameters,
    read_best_first,
    without_twins,
)

Kind = Literal["flat", "hnsw", "ivf", "sq8"]
Device = Literal["auto", "cpu", "cuda"]

# Below this many allowed rows an exact scan of just those rows is cheaper than walking a graph that must skip the rest.
NARROW_ROWS = 5_000
NARROW_SHARE = 0.05
HNSW_LINKS = 32
HNSW_BUILD_EF = 120
HNSW_SEARCH_EF = 256
# A compressed kind fetches so many times what is asked for, at least so many, and re-scores them from vectors.npy.
FINE_ROWS = 800
FINE_SHARE = 1 / 1250  # and of a large index this share: its short codes tell neighbours apart less well
FINE_FACTOR: Mapping[Kind, float] = {"ivf": 8.0, "sq8": 1.25}


def choose_kind(wanted: str, rows: int, flat_max_rows: int) -> Kind:
    """Return the kind for a segment: what was asked, or by size flat (exact) and then IVF.

    Few rows have no structure to be learnt: they are flat where IVF is asked for, too.
    """
    if wanted == "auto":
        wanted = "flat" if rows <= flat_max_rows else "ivf"
    if wanted == "ivf" and rows < SHORT_CODES_LEAST:
        return "flat"
    return wanted  # type: ignore[return-value]  # the configuration admits only kinds


class VectorIndex:
    """FAISS over `vectors` (rows, dim) float32; row i of the segment has id i. Immutable, safe for concurrent search.

    On a GPU a flat index lies there, and one search runs at a time: FAISS's GPU indices are not safe for more. A
    filter that they cannot apply is applied exactly on the CPU instead, since it must be inside the search.
    """

    def __init__(self, kind: Kind, vectors: np.ndarray, index: faiss.Index, device: Device = "cpu") -> None:
        self.kind = kind
        self.vectors = vectors
        self._on_gpu = kind == "flat" and _use_gpu(device)
        self._index = _to_gpu(index) if self._on_gpu else index
        self.has_twins, self._unfiltered = False, None
        if kind == "ivf":
            read_best_first(index)
            self.has_twins, self._unfiltered = has_twins(index), parameters(index, None)
        self._turn = threading.Lock()

    @property
    def rows(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    @classmethod
    def build(cls, vectors: np.ndarray, kind: Kind, device: Device = "cpu") -> VectorIndex:
        """Index `vectors`; raises BadModel when one is not finite or is zero: such a row could never be found."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1)
        if not np.all(np.isfinite(norms) & (norms > 0)):
            raise BadModel("A vector is NaN, infinite or zero.", advice="Check the embedder; nothing was indexed.")
        return cls(kind, vectors, _index(kind, vectors), device)

    def save(self, directory: Path) -> None:
        """Write `vectors.npy` and, unless flat, `vectors.faiss`."""
        np.save(directory / "vectors.npy", self.vectors, allow_pickle=False)
        if self.kind != "flat":
            faiss.write_index(self._index, str(directory / "vectors.faiss"))

    @classmethod
    def load(cls, directory: Path, kind: Kind, device: Device = "cpu") -> VectorIndex:
        """Load what `save` wrote; the files' sums must have been verified."""
        vectors = _mapped(directory)
        if kind == "flat":
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors))
        else:
            faiss.set_deserialization_vector_byte_limit(64 * 2**30)
            index = faiss.read_index(str(directory / "vectors.faiss"))
        if index.ntotal != len(vectors):
            raise Corrupt(
                "The FAISS index and the vectors differ in their number of rows.", advice="Rebuild the index."
            )
        return cls(kind, vectors, index, device)

    def rest_on(self, directory: Path) -> None:
        """Read the vectors from what `save` wrote from now on; the FAISS index stays in memory."""
        self.vectors = _mapped(directory)

    def top(self, query: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest allowed rows: (rows int64, cosines float32), best first.

        Args:
            query: (dim,) float32, normalised.
            allowed: boolean mask over rows, None for all. min(k, rows allowed) rows come back, always.
        """
        self._check_dim(query)
        if not np.all(np.isfinite(query)):
            raise BadModel("The query's vector is not finite.", advice="Check the embedder.")
        matching = self.rows if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, matching)
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        narrow = matching < max(NARROW_ROWS, NARROW_SHARE * self.rows) and self.kind != "flat"
        if allowed is not None and (narrow or self._on_gpu):
            return self._exact(query, k, np.flatnonzero(allowed))
        rows = self._approximate(query, k, allowed)
        if len(rows[0]) < k:  # the lists that were read held fewer
            return self._exact(query, k, np.arange(self.rows) if allowed is None else np.flatnonzero(allowed))
        return rows

    def cosines(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Exact cosines (len(rows),) float32 of the given rows; what a row gets does not depend on the others.

        Read where they lie: to gather hundreds of rows for a product of matrices takes longer than the product.
        Raises BadModel for a query of another dimension: FAISS does not look.
        """
        self._check_dim(query)
        found = np.empty(len(rows), np.float32)
        rows, query = np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(query, np.float32)
        places = (faiss.swig_ptr(array) for array in (found, query, self.vectors, rows))
        faiss.fvec_inner_products_by_idx(*places, self.dim, 1, len(rows))
        return found

    def _check_dim(self, query: np.ndarray) -> None:
        if query.shape != (self.dim,):
            raise BadModel(f"The query's vector is not of {self.dim} numbers.", advice="Check the embedder.")

    def _exact(self, query: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _best(rows, self.cosines(query, rows), k)

    def _approximate(self, query: np.ndarray, k: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if self._on_gpu:
            with self._turn:
                scores, ids = self._index.search(query[None, :], k)
            return ids[0], scores[0]
        selector, _bits = _selector(allowed)
        fetch = self._fetched(k)
        scores, ids = self._index.search(query[None, :], fetch, params=self._parameters(selector, fetch))
        found = ids[0] >= 0
        rows = ids[0][found]
        if self.has_twins and len(rows):
            rows = without_twins(rows)
        if self.kind in FINE_FACTOR:
            return _best(rows, self.cosines(query, rows), k)
        return rows, scores[0][found]

    def _fetched(self, k: int) -> int:
        if self.kind not in FINE_FACTOR:
            return k
        wanted = max(int(k * FINE_FACTOR[self.kind]), FINE_ROWS, int(self.rows * FINE_SHARE))
        wanted = min(wanted, self.rows)
        return int(WITH_TWINS * wanted) if self.has_twins else wanted

    def _parameters(self, selector: Any, k: int) -> Any:  # noqa: ANN401 (FAISS is not typed)
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(sel=selector, efSearch=max(HNSW_SEARCH_EF, 2 * k))
        if self.kind == "ivf":
            return self._unfiltered if selector is None else parameters(self._index, selector)
        return faiss.SearchParameters(sel=selector)


def _mapped(directory: Path) -> np.ndarray:
    """`vectors.npy` as a plain array: slicing a `memmap` costs more."""
    return np.asarray(np.load(directory / "vectors.npy", mmap_mode="r", allow_pickle=False))


def _use_gpu(device: Device) -> bool:
    present = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    if device == "cuda" and not present:
        raise ConfigError(
            "index.device is cuda, and FAISS sees no GPU.",
            advice="Install the extra `gpu`, give the shards a GPU (fleet.shard_gpus), or set it to auto.",
        )
    return present and device != "cpu"


def _to_gpu(index: faiss.Index) -> faiss.Index:
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


def _index(kind: Kind, vectors: np.ndarray) -> faiss.Index:
    if kind == "ivf":
        return build_short_codes(vectors)
    index = _empty_index(kind, vectors.shape[1])
    if not index.is_trained:
        index.train(vectors)
    index.add(vectors)
    return index


def _empty_index(kind: Kind, dim: int) -> faiss.Index:
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD_EF
        return index
    if kind == "sq8":
        return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexFlatIP(dim)


def _selector(allowed: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """FAISS keeps a bare pointer to the bits: the second value must live as long as the first."""
    if allowed is None:
        return None, None
    bits = np.packbits(allowed, bitorder="little")
    return faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), bits


def _best(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if len(rows) > k:
        best = np.argpartition(-scores, k - 1)[:k]
        rows, scores = rows[best], scores[best]
    order = np.argsort(-scores, kind="stable")
    return rows[order], scores[order].astype(np.float32)
