"""What a search costs as a shard grows from 1,000 to 1,000,000 chunks, and whether it still finds.

    python -m bench.growth [--quick] [--json]

prints one line and writes bench/out/growth.svg. Ten minutes on one quiet core; --quick stops at 100,000 chunks.

The path is that of `jobs.build_index`: chunks come to a shard's machine in batches; it merges them, indexes them by its
own choice of kind, and seals them into an object store. Another process loads the generation, checks all sums, and
searches. Vectors and texts are synthetic (`bench.synthetic`). Times of queries are medians of CPU time, so that other
work disturbs little; one thread. For each size:

    dense_ms, lexical_ms, hybrid_ms    of the shard's part of a search, the final ranking included, k = 10
    query_ms                           of a hybrid query: hybrid_ms, and its embedding, which is the same at any size
    recall                             of the 10 nearest by exact cosine, how many a dense search finds
    build_cpu_s                        to index and seal all, from chunks with vectors
    load_s, load_cpu_s                 until the shard can answer, sums of all files checked
    own_bytes, mapped_bytes            memory a chunk after the queries: of the process, and of files that it maps,
                                       which the system takes back when it needs room
    vector_bytes_share                 the index over the vectors as a share of the float32 vectors; 1 where it is flat

`growth` compares query_ms of the largest size with 1,000 (goal: 1.5), `search_growth` hybrid_ms alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
from rich.console import Console

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.corpus import queries
from bench.synthetic import DIM, TENANT, Question, World
from kaizen.config import EmbedderSettings, IndexSettings, Retrieval
from kaizen.evaluation.bars import Group
from kaizen.indexing.generation import GenerationStore
from kaizen.models.embedder_spec import read_spec
from kaizen.models.onnx_cache import ensure_onnx
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.packed_models import PackedModels
from kaizen.records import Principal
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardQuery, search
from kaizen.retrieval.ranking import rank
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.shard import Seal, Shard, ShardChanges, merge_parts
from kaizen.retrieval.view import View
from kaizen.storage.object_store import open_store

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUESTIONS = 200
BATCH_CHUNKS = 10_000
SEAL_BATCHES = 50  # so that a million fits into memory
K = 10
GROWTH_GOAL, RECALL_GOAL, SHARE_GOAL = 1.5, 0.98, 0.35
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")


def build(folder: Path, chunks: int) -> tuple[dict[str, float], list[Question]]:
    """Index `chunks` chunks below `folder`; returns what it took, and queries."""
    faiss.omp_set_num_threads(1)
    settings, analyser = IndexSettings(), Analyser()
    machine, store = Shard(settings, seals=True), _store(folder)
    machine.loaded(View(0, ()), 0)
    asked: list[Question] = []
    spent = 0.0
    for seq, (table, vectors, questions) in enumerate(World(chunks).batches(BATCH_CHUNKS, QUESTIONS), 1):
        asked += questions
        started = time.process_time()
        names = tuple((TENANT, name) for name in table.column("document_id").to_pylist())
        machine.changed(ShardChanges(seq, names, Segment.build(table, vectors, analyser, settings)), now=0.0)
        if seq % SEAL_BATCHES == 0:
            _seal(machine, store, settings)
        spent += time.process_time() - started
    started = time.process_time()
    _seal(machine, store, settings)
    return {"build_cpu_s": spent + time.process_time() - started}, asked


def _seal(machine: Shard, store: GenerationStore, settings: IndexSettings) -> None:
    """Carry out all that is due by the end of time: what is unsealed is sealed, and what is quiet is compacted."""
    while isinstance(due := machine.next(float("inf")), Seal):
        merged = merge_parts(due.parts, settings)
        store.save(due.view.exchange(due.parts, merged, sealed=True), merged)
        machine.sealed(due, merged, now=0.0)


def measure_size(folder: Path, asked: Sequence[Question]) -> dict[str, Any]:
    """Load what `build` left and search it."""
    faiss.omp_set_num_threads(1)
    before, _ = _memory()
    started, cpu = time.perf_counter(), time.process_time()
    view = built(folder)
    loaded = {"load_s": time.perf_counter() - started, "load_cpu_s": time.process_time() - cpu}
    costs = {f"{mode}_ms": _cost(view, asked, mode) for mode in MODES}
    own, mapped = _memory()
    sizes = [size for live in view.segments for size in _index_bytes(folder, live.segment)]
    return {
        "chunks": view.rows,
        "kinds": sorted({live.segment.kind for live in view.segments}),
        "segments": len(view.segments),
        **costs,
        **loaded,
        "own_bytes": (own - before) / view.rows,
        "mapped_bytes": mapped / view.rows,
        "vector_bytes_share": sum(sizes) / (view.rows * DIM * 4) if sizes else 1.0,
        "recall": _recall(view, asked),
    }


def built(folder: Path) -> View:
    """What `build` left in `folder`, loaded as a shard loads it."""
    return _store(folder).load().view


def _index_bytes(folder: Path, segment: Segment) -> list[int]:
    return [path.stat().st_size for path in folder.rglob(f"{segment.name}/vectors.faiss")]


class _NoLedger:
    """Whatever a generation says that it was made of is there."""

    def head(self) -> int:
        return 0

    def mark_of(self, seq: int) -> str:
        return str(seq)


def _store(folder: Path) -> GenerationStore:
    return GenerationStore(open_store(str(folder)), "index/bench/shard-000", _NoLedger())


def _cost(view: View, asked: Sequence[Question], mode: Mode) -> float:
    """CPU milliseconds of the median query, after one round to warm up."""
    analyser = Analyser()

    def once(question: Question) -> float:
        started = time.thread_time()
        answer = search(view, shard_query(question, mode, analyser))
        rank({0: answer}, mode=mode, unit="chunk", k=K, settings=Retrieval())
        return 1000 * (time.thread_time() - started)

    rounds = [[once(question) for question in asked] for _ in range(3)]
    return median(min(times) for times in zip(*rounds, strict=True))


def shard_query(question: Question, mode: Mode, analyse: Callable[[str], list[str]]) -> ShardQuery:
    """The question as a gateway would ask it, with default settings."""
    return ShardQuery(
        mode=mode,
        vector=question.vector,
        terms=tuple(analyse(question.text)),
        principal=Principal(key_id="bench", tenant=TENANT, groups=(), scopes=("search",)),
        condition=None,
        types={},
        settings=Retrieval(),
        depth=Retrieval().depth,
        texts=K,
    )


def _recall(view: View, asked: Sequence[Question]) -> float:
    """Share of the exact K nearest that a dense search has among its first K."""
    exact = _exact(view, np.stack([question.vector for question in asked]))
    hits = 0
    for question, nearest in zip(asked, exact, strict=True):
        found = search(view, shard_query(question, "dense", lambda _: [])).candidates
        best = np.argsort(-found.cosine, kind="stable")[:K]
        hits += len({(int(found.segment[i]), int(found.row[i])) for i in best} & nearest)
    return hits / (K * len(asked))


def _exact(view: View, vectors: np.ndarray) -> list[set[tuple[int, int]]]:
    found: list[list[tuple[float, int, int]]] = [[] for _ in vectors]
    for number, live in enumerate(view.segments):
        for first in range(0, live.segment.rows, 50_000):
            cosines = np.asarray(live.segment.vectors.vectors[first : first + 50_000]) @ vectors.T
            for question, column in enumerate(cosines.T):
                best = np.argpartition(-column, min(K, len(column) - 1))[:K]
                found[question] += [(float(column[row]), number, first + int(row)) for row in best]
    return [{(number, row) for _, number, row in sorted(each, reverse=True)[:K]} for each in found]


def _memory() -> tuple[int, int]:
    """Bytes of this process's own memory, and of files that it maps."""
    lines = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    fields = {line[0]: int(line[1]) * 1024 for line in lines}
    return fields["Pss_Anon:"], fields["Pss_File:"]


def embedding_ms() -> float:
    """CPU milliseconds of embedding a query of ten real words, the median, as a gateway replica does it."""
    spec = read_spec(EmbedderSettings().model)
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
        export = ensure_onnx(spec, Path(folder))
        model = OnnxEmbedder(spec, export, threads=1, packed=PackedModels(Path(folder) / "packed").of(export))
        times = []
        for text in queries(QUESTIONS):
            started = time.process_time()
            model.embed([text])
            times.append(1000 * (time.process_time() - started))
    return median(times)


def measure(sizes: Sequence[int]) -> dict[str, Any]:
    """All sizes, each built and searched in processes of its own; returns the object that is printed."""
    console = Console(stderr=True)
    results = []
    for chunks in sizes:
        with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
            took, asked = apart(build, Path(folder), chunks)
            result = {**apart(measure_size, Path(folder), asked), **took}
        results.append({name: _rounded(value) for name, value in result.items()})
        console.print(json.dumps(results[-1]))
    embed = apart(embedding_ms)
    for result in results:
        result["query_ms"] = _rounded(embed + result["hybrid_ms"])
    return {
        "embed_ms": _rounded(embed),
        "growth": _rounded(results[-1]["query_ms"] / results[0]["query_ms"]),
        "search_growth": _rounded(results[-1]["hybrid_ms"] / results[0]["hybrid_ms"]),
        "sizes": results,
    }


def apart(work: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 (what `work` returns)
    """Work in a process of its own, so that what it takes is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _rounded(value: Any) -> Any:  # noqa: ANN401 (numbers are rounded, the rest stays)
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _draw(result: dict[str, Any]) -> Path:
    sizes = result["sizes"]

    def bars(name: str) -> list[tuple[str, float]]:
        return [(f"{size['chunks']:,}", size[name]) for size in sizes]

    return write_chart(
        "growth",
        f"A query on one shard: {sizes[-1]['chunks']:,} chunks cost {result['growth']} times what 1,000 do",
        [
            Group(title="hybrid query", unit="ms", bars=bars("query_ms"), goal=GROWTH_GOAL * sizes[0]["query_ms"]),
            *(Group(title=f"{mode} search alone", unit="ms", bars=bars(f"{mode}_ms")) for mode in MODES),
            Group(title="recall@10", unit="", bars=bars("recall"), goal=RECALL_GOAL),
            Group(title="index / float32", unit="", bars=bars("vector_bytes_share"), goal=SHARE_GOAL),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.growth", __doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 chunks")
    options = parser.parse_args(arguments)
    result = measure(SIZES[:-1] if options.quick else SIZES)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
