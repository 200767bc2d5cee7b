"""What a shard spends on a query as the same chunks are split among more shards, and what asking them costs.

    python -m bench.shards [--quick] [--json]

prints one line and writes bench/out/shards.svg. About five minutes; --quick uses 16,000 chunks instead of 64,000.

A Ray of NODES simulated nodes behind the one that asks: real raylets on this machine, among which actors are dealt out,
each with one shard's part of synthetic chunks (`bench.synthetic`) as one flat segment, which is scanned whole, so that
the work is proportional to the rows. The product's own fan-out (`actors.fan_out`) asks them, hybrid, k = 10, one
query at a time, and by Ray's calls, since none is on the node of who asks. Two cores cannot be so many nodes: CPU time
is compared, not seconds.

    shard_ms      CPU time of one shard and query, the actor's receiving and answering included
    scan_ms       of that, the exact scan of vectors: the part that is proportional to the rows
    efficiency    what a shard would spend at best (scan_ms of one shard over the number of shards) over scan_ms.
                  Goal: 0.9
    asking_ms     CPU time of the asking side for a query: pickling, sending, waiting, unpickling
    fan_out_ms    of shard_ms, what is no search: taking the call and giving the answer back
    wall_ms       median, by the clock, which includes waiting for a core
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any

import faiss
import ray
from rich.console import Console

from actors.fan_out import FanOut
from actors.names import shard_name
from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.growth import shard_query
from bench.synthetic import Question, World
from cluster.ray_token import use_token
from kaizen.config import IndexSettings
from kaizen.evaluation.bars import Group
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.query import ShardQuery, search
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import View

SHARDS = (1, 2, 4, 8)
CHUNKS, QUICK_CHUNKS = 64_000, 16_000
QUESTIONS = 50
ROUNDS = 3
NODES = 4
NAMESPACE = "bench"
PATIENCE_SECONDS = 60.0
GOAL = 0.9


class Part:
    """One of `shards` parts of `chunks` chunks, asked like `actors.index_shard`."""

    def __init__(self, chunks: int, number: int) -> None:
        faiss.omp_set_num_threads(1)
        view, analyser = View(0, ()), Analyser()
        (table, vectors, _), *_ = World(chunks, seed=number).batches(chunks, 0)
        self._view = view.apply(1, (), Segment.build(table, vectors, analyser, IndexSettings(kind="flat")))

    def search(self, pickled: bytes, min_seq: int, wait_seconds: float) -> bytes:
        """As IndexShard.search."""
        return search(self._view, ShardQuery.unpickled(pickled)).pickled()

    def line(self) -> tuple[str, str]:
        """As IndexShard.line; nobody listens there, nor would anybody ask from another node."""
        return ray.get_runtime_context().get_node_id(), ""

    def spent(self) -> float:
        """CPU seconds of this process so far."""
        return time.process_time()

    def scan_seconds(self, questions: list[Question]) -> float:
        """CPU seconds of the median exact scan alone."""
        index, spent = self._view.segments[0].segment.vectors, []
        for question in questions:
            started = time.thread_time()
            index.top(question.vector, 200, None)
            spent.append(time.thread_time() - started)
        return median(spent)

    def search_seconds(self, queries: list[bytes]) -> float:
        """CPU seconds of the mean search alone, without who asks."""
        started = time.thread_time()
        for query in queries:
            self.search(query, 0, 0.0)
        return (time.thread_time() - started) / len(queries)


def measure_shards(chunks: int, shards: int, questions: list[Question]) -> dict[str, Any]:
    """Ask `shards` actors that hold `chunks` in all; ends them."""
    index = f"bench-{shards}"
    options = {"namespace": NAMESPACE, "num_cpus": 0, "max_concurrency": 4}
    actors = [
        ray.remote(Part)
        .options(name=shard_name(index, number, 0), resources={_node(number % NODES): 1}, **options)
        .remote(chunks // shards, number)
        for number in range(shards)
    ]
    scans = ray.get([actor.scan_seconds.remote(questions) for actor in actors])
    queries = [shard_query(question, "hybrid", Analyser()).pickled() for question in questions]
    alone = [ray.get(actor.search_seconds.remote(queries)) for actor in actors]  # one after the other: two cores
    asyncio.run(_ask(FanOut(index, shards, 1, NAMESPACE), questions))  # a first round to warm up
    before, asking = sum(ray.get([actor.spent.remote() for actor in actors])), time.process_time()
    seconds = [
        each for _ in range(ROUNDS) for each in asyncio.run(_ask(FanOut(index, shards, 1, NAMESPACE), questions))
    ]
    asked = time.process_time() - asking
    spent = sum(ray.get([actor.spent.remote() for actor in actors])) - before
    for actor in actors:
        ray.kill(actor)
    each_ms = 1000 * spent / (shards * len(seconds))
    return {
        "shards": shards,
        "shard_ms": each_ms,
        "fan_out_ms": each_ms - 1000 * mean(alone),
        "scan_ms": 1000 * median(scans),
        "asking_ms": 1000 * asked / len(seconds),
        "wall_ms": 1000 * median(seconds),
    }


async def _ask(fan_out: FanOut, questions: list[Question]) -> list[float]:
    analyser, seconds = Analyser(), []
    for question in questions:
        started = time.monotonic()
        query = shard_query(question, "hybrid", analyser)
        gathered = await fan_out.search(query, min_seq=0, deadline=started + PATIENCE_SECONDS)
        seconds.append(time.monotonic() - started)
        if gathered.coverage < 1:
            raise RuntimeError("A shard did not answer.")
    return seconds


def measure(chunks: int) -> dict[str, Any]:
    """All numbers of shards in turn; returns the object that is printed."""
    questions = [question for *_, own in World(1000, seed=99).batches(1000, QUESTIONS) for question in own]
    with _nodes():
        results = [measure_shards(chunks, shards, questions) for shards in SHARDS]
    for result in results:
        result["efficiency"] = results[0]["scan_ms"] / result["shards"] / result["scan_ms"]
        Console(stderr=True).print(json.dumps(result))
    rounded = [{name: float(f"{value:.3g}") for name, value in result.items()} for result in results]
    return {"chunks": chunks, "nodes": NODES, "shards": rounded}


def _node(number: int) -> str:
    return f"node-{number}"


@contextmanager
def _nodes() -> Iterator[None]:
    """Connect to a head that holds nothing, with NODES nodes behind it; all end with the block."""
    use_token()
    from ray.cluster_utils import Cluster  # reads the environment when it is imported

    memory = {"object_store_memory": 80 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory})
    try:
        for number in range(NODES):
            nodes.add_node(num_cpus=1, resources={_node(number): max(SHARDS)}, **memory)
        ray.init(address=nodes.address, namespace=NAMESPACE, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


def _draw(result: dict[str, Any]) -> Path:
    def bars(name: str) -> list[tuple[str, float]]:
        return [(f"{one['shards']:.0f}", one[name]) for one in result["shards"]]

    return write_chart(
        "shards",
        f"{result['chunks']:,} chunks on 1 to 8 shards: CPU time of a query",
        [
            Group(title="a shard", unit="ms", bars=bars("shard_ms")),
            Group(title="of that, the scan", unit="ms", bars=bars("scan_ms")),
            Group(title="scan: share of linear", unit="", bars=bars("efficiency"), goal=GOAL),
            Group(title="taking and giving", unit="ms", bars=bars("fan_out_ms")),
            Group(title="who asks", unit="ms", bars=bars("asking_ms")),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.shards", __doc__)
    parser.add_argument("--quick", action="store_true", help="fewer chunks")
    options = parser.parse_args(arguments)
    result = measure(QUICK_CHUNKS if options.quick else CHUNKS)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
