"""The limit of search: the same work in one process, without HTTP, without actors, without writing down what was shown.

Embed the query with ONNX Runtime, search one view that holds all chunks in one segment, of the kind that the product's
shard would choose, rank. It runs in a process of its own, so that neither its memory nor its interpreter lock touches
who measures. The encoder is the model as it was exported, in float32, or `as_served`: with the weights that a gateway
opens, in 8 bits where the processor multiplies bytes. What is known to be wanted at the same time may be embedded
together (`batch`), which no server can that answers each query as it comes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import cycle, islice, pairwise
from multiprocessing import get_context
from typing import NamedTuple

import faiss
import numpy as np
import pyarrow as pa

from kaizen.config import Retrieval, Settings
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.packed_models import PackedModels
from kaizen.records import Principal, Release
from kaizen.release import index_of, retrieval_of
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.chunk_table import split_vectors
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardQuery, search
from kaizen.retrieval.ranked import Ranked
from kaizen.retrieval.ranking import depth_needed, rank
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import View
from kaizen.workspace import open_workspace

STAGES = ("embed", "search", "rank")


class Rate(NamedTuple):
    """Queries per second, and CPU time of each."""

    per_second: float
    cpu_ms: float


class Limit:
    """The searcher in its process."""

    def __init__(self, settings: Settings, release: Release, rows: pa.Table) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_load, initargs=(settings, release, rows)
        )

    def seconds_each(
        self, queries: Sequence[str], k: int, mode: Mode = "hybrid", *, as_served: bool = False
    ) -> list[dict[str, float]]:
        """Seconds by stage and `total` of each query, one after the other."""
        return self._pool.submit(_seconds_each, queries, k, mode, as_served).result()

    def at_once(
        self,
        queries: Sequence[str],
        k: int,
        *,
        threads: int,
        seconds: float,
        mode: Mode = "hybrid",
        batch: int = 1,
        as_served: bool = False,
    ) -> Rate:
        """Search in so many threads at once, for about so long; each embeds `batch` queries together."""
        return self._pool.submit(_at_once, queries, k, threads, seconds, mode, batch, as_served).result()

    def found(self, queries: Sequence[str], k: int, mode: Mode = "hybrid") -> list[list[str]]:
        """Document ids of the best k of each query."""
        return self._pool.submit(_found, queries, k, mode).result()

    def vectors(self, queries: Sequence[str]) -> np.ndarray:
        """(n, dim) float32: of each query by itself."""
        return self._pool.submit(_vectors, queries).result()

    @property
    def pid(self) -> int:
        """The searcher's process."""
        return self._pool.submit(os.getpid).result()

    def close(self) -> None:
        """Give the memory back."""
        self._pool.shutdown()


class _Searcher:
    """All that is needed for a query."""

    def __init__(self, settings: Settings, release: Release, rows: pa.Table) -> None:
        faiss.omp_set_num_threads(1)  # a single query is scanned by one thread in any case
        index = index_of(release)
        directory = open_workspace(settings).store.fetch_directory(index.embedder)
        spec = EmbedderSpec.from_record(dict(release.parts["embedder"]))
        threads = settings.embedder.query_threads
        self._exported = OnnxEmbedder(spec, directory, threads=threads)
        self._served = OnnxEmbedder(spec, directory, threads=threads, packed=PackedModels().of(directory))
        self._analyser = Analyser()
        self._settings: Retrieval = retrieval_of(release)
        table, vectors = split_vectors(rows, index.dim)
        tenant = table.column("tenant")[0].as_py()
        self._principal = Principal(key_id="bench", tenant=tenant, groups=(), scopes=("search",))
        segment = Segment.build(table, vectors, self._analyser, settings.index)
        self._view = View(0, ()).apply(1, (), segment)

    def search(
        self, text: str, k: int, mode: Mode, *, as_served: bool = False
    ) -> tuple[list[Ranked], tuple[float, ...]]:
        """The best k, and the seconds of STAGES."""
        times = [time.perf_counter()]
        vector = self.embed([text], as_served=as_served)[0]
        times.append(time.perf_counter())
        answer = search(self._view, self._query(text, vector, k, mode))
        times.append(time.perf_counter())
        ranked = rank({0: answer}, mode=mode, unit="chunk", k=k, settings=self._settings)
        times.append(time.perf_counter())
        return ranked, tuple(b - a for a, b in pairwise(times))

    def search_together(self, texts: Sequence[str], k: int, mode: Mode, *, as_served: bool) -> None:
        """Embed in one batch, then search one after the other."""
        for text, vector in zip(texts, self.embed(texts, as_served=as_served), strict=True):
            answer = search(self._view, self._query(text, vector, k, mode))
            rank({0: answer}, mode=mode, unit="chunk", k=k, settings=self._settings)

    def embed(self, texts: Sequence[str], *, as_served: bool = False) -> np.ndarray:
        """(n, dim) float32."""
        return (self._served if as_served else self._exported).embed(texts)

    def _query(self, text: str, vector: np.ndarray, k: int, mode: Mode) -> ShardQuery:
        return ShardQuery(
            mode=mode,
            vector=vector,
            terms=tuple(self._analyser(text)) if mode != "dense" else (),
            principal=self._principal,
            condition=None,
            types={},
            settings=self._settings,
            depth=depth_needed(k, unit="chunk", settings=self._settings),
            texts=k,
        )


_searcher: list[_Searcher] = []  # of the process of Limit, which has no other purpose


def _load(settings: Settings, release: Release, rows: pa.Table) -> None:
    _searcher.append(_Searcher(settings, release, rows))


def _seconds_each(queries: Sequence[str], k: int, mode: Mode, as_served: bool) -> list[dict[str, float]]:
    timed = (_searcher[0].search(text, k, mode, as_served=as_served)[1] for text in queries)
    return [{**dict(zip(STAGES, spent, strict=True)), "total": sum(spent)} for spent in timed]


def _found(queries: Sequence[str], k: int, mode: Mode) -> list[list[str]]:
    ranked = (_searcher[0].search(text, k, mode)[0] for text in queries)
    return [[item.text["document_id"] for item in items if item.text] for items in ranked]


def _vectors(queries: Sequence[str]) -> np.ndarray:
    return np.concatenate([_searcher[0].embed([text]) for text in queries])


def _at_once(
    queries: Sequence[str], k: int, threads: int, seconds: float, mode: Mode, batch: int, as_served: bool
) -> Rate:
    started, cpu_started = time.perf_counter(), time.process_time()

    def work(first: int) -> int:
        done = 0
        pending = islice(cycle(queries), first, None)
        while time.perf_counter() - started < seconds:
            texts = tuple(islice(pending, batch))
            if batch > 1:
                _searcher[0].search_together(texts, k, mode, as_served=as_served)
            else:
                _searcher[0].search(texts[0], k, mode, as_served=as_served)
            done += len(texts)
        return done

    # FAISS's number of threads is each thread's own: unset, a second one spins beside every search.
    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        done = sum(pool.map(work, range(0, threads * 17, 17)))
    return Rate(
        per_second=done / (time.perf_counter() - started), cpu_ms=1000 * (time.process_time() - cpu_started) / done
    )
