"""What the product adds to a search, and what it costs at full load: HTTP, fan-out to actors, impressions.

    python -m bench.search [--quick] [--profile] [--json]

prints one line, {"p50_ms": .., "limit_p50_ms": .., "p50_ratio": .., "rps": .., "limit_rps": .., "rps_ratio": ..,
"chunks": .., ...}, and writes bench/out/search.svg. About five minutes on two quiet cores.

What is compared. The product: a throw-away installation with default settings (HAProxy, two gateway replicas, a
shard in two copies), hybrid search, k = 10, each response a whole one, its impression in the ledger. The limit:
`search_limit`, the same queries over the same chunks in one process, with the model as it was exported. Both run in
turns, and a ratio is taken within each round.

    p50_ms, limit_p50_ms    medians of the rounds' medians, one query at a time over one connection.
                            Goal: p50_ratio <= 2.5
    rps, limit_rps          medians over the rounds, at 16 connections; the limit with the number of threads that a
                            trial beforehand found best. Goal: rps_ratio >= 0.5
    ..._as_served           the same ratios, to a limit whose model has the weights of the product's (8 bits where the
                            processor multiplies bytes)
    cpu_ms, limit_cpu_ms    CPU time of all processes (Ray's too, the load generator's not) per request at full load;
                            cpu_ratio, the limit's over the product's, is what rps_ratio is where nothing else runs.
                            Where something does, trust it more: the product has more processes, and so gets more of
                            the cores than the limit does
    spread                  least and most of each ratio over the rounds
    client_cpu_share        CPU time of the load generator at full load over wall time, of one core: 1 would mean
                            that the generator was measured
    ingest_chunks_per_s     `jobs.ingest` of the real chunks, while the shards index what it writes

The corpus is real text for its first chunks and derived from them for the rest: see `search_index`. --profile prints
where the time of one search goes, and the CPU time of each process per request at full load.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.corpus import queries
from bench.http_load import Load, Target, at_once, in_turn
from bench.process_tree import ProcessTree
from bench.ratio import median_ratio, ratios
from bench.search_index import Corpus, use, wait_until_quiet, wait_until_settled
from bench.search_limit import STAGES, Limit
from cluster.throwaway import Installation, installation, summary_of
from kaizen.config import Settings
from kaizen.evaluation.bars import Group
from kaizen.text.stdlib_corpus import write_jsonl

K = 10
CONNECTIONS = 16
THREADS = (1, 2, 4)
PATIENCE_SECONDS = 60  # on a machine that does other things as well, a partial answer must not pass for a fast one
P50_GOAL = 1.5
RPS_GOAL = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. `seconds`: of one run at full load."""

    chunks: int
    queries: int
    rounds: int
    seconds: float


FULL = Plan(chunks=20_000, queries=200, rounds=5, seconds=6.0)
QUICK = Plan(chunks=20_000, queries=60, rounds=3, seconds=3.0)


@dataclass(slots=True)
class Rounds:
    """Figures of each round, in milliseconds and requests per second."""

    p50_ms: list[float] = field(default_factory=list)
    limit_p50_ms: list[float] = field(default_factory=list)
    as_served_p50_ms: list[float] = field(default_factory=list)
    rps: list[float] = field(default_factory=list)
    limit_rps: list[float] = field(default_factory=list)
    as_served_rps: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    limit_cpu_ms: list[float] = field(default_factory=list)
    client_cpu_share: list[float] = field(default_factory=list)


class Bench:
    """A running installation with its corpus, its limit and a load generator."""

    def __init__(self, running: Installation, corpus: Corpus, plan: Plan) -> None:
        self._target = Target(url=running.state.url, path="/v1/search", headers=running.headers)
        self._tree = ProcessTree(running.state.pid)
        self._plan = plan
        self._texts = queries(plan.queries)
        self._bodies = [{"query": text, "k": K, "timeout_seconds": PATIENCE_SECONDS} for text in self._texts]
        self._client = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._limit = Limit(corpus.settings, corpus.release, corpus.rows())

    def close(self) -> None:
        """End the other processes."""
        self._client.shutdown()
        self._limit.close()

    def use(self) -> None:
        """Make it one that has been in use for a while."""
        use(self._target, self._bodies, connections=CONNECTIONS)

    def rounds(self) -> tuple[Rounds, int]:
        """Measure in turns; returns also the limit's best number of threads."""
        trial = self._plan.seconds / 2
        rates = {n: self._limit.at_once(self._texts, K, threads=n, seconds=trial).per_second for n in THREADS}
        threads = max(rates, key=lambda n: rates[n])
        found = Rounds()
        for _ in range(self._plan.rounds):
            found.p50_ms.append(1000 * median(self._in_turn().seconds_each))
            found.limit_p50_ms.append(_median_ms(self._limit.seconds_each(self._texts, K), "total"))
            served = self._limit.seconds_each(self._texts, K, as_served=True)
            found.as_served_p50_ms.append(_median_ms(served, "total"))
            before = sum(_cpu_seconds(self._tree).values())
            load = self._at_once()
            found.rps.append(load.rate)
            spent = sum(_cpu_seconds(self._tree).values()) - before
            found.cpu_ms.append(1000 * spent / len(load.seconds_each))
            found.client_cpu_share.append(load.cpu_seconds / load.seconds)
            limit = self._limit.at_once(self._texts, K, threads=threads, seconds=self._plan.seconds)
            found.limit_rps.append(limit.per_second)
            found.limit_cpu_ms.append(limit.cpu_ms)
            same = self._limit.at_once(self._texts, K, threads=threads, seconds=self._plan.seconds, as_served=True)
            found.as_served_rps.append(same.per_second)
        return found, threads

    def profile(self) -> tuple[list[tuple[str, float, float | None]], list[tuple[str, float]]]:
        """(stage, ms, ms of the limit) of the median search, and (process, CPU milliseconds per request)."""
        product = self._in_turn(stages=True)
        limit = {name: _median_ms(self._limit.seconds_each(self._texts, K), name) for name in (*STAGES, "total")}
        bare = self._client.submit(in_turn, self._bare_target(), [{}] * len(self._bodies)).result()
        stages = {name: median(each[name] for each in product.stages) for name in product.stages[0]}
        whole = 1000 * median(product.seconds_each)
        inside = sum(stages[name] for name in ("embed", "shards", "rank", "log"))
        limits = {"embed": limit["embed"], "shards": limit["search"], "rank": limit["rank"]}
        rows: list[tuple[str, float, float | None]] = [
            ("client, HAProxy, replica and back, with no work (/healthz)", 1000 * median(bare.seconds_each), None),
            *((name, stages[name], limits.get(name)) for name in ("embed", "shards", "rank", "log")),
            (
                "parse, authenticate, build and write the response",
                whole - inside - 1000 * median(bare.seconds_each),
                None,
            ),
            ("in all", whole, limit["total"]),
        ]
        return rows, self._cpu_by_process()

    def _cpu_by_process(self) -> list[tuple[str, float]]:
        before = _cpu_seconds(self._tree)
        load = self._at_once()
        after = _cpu_seconds(self._tree)
        requests = len(load.seconds_each)
        spent = [(name, 1000 * (seconds - before.get(name, 0)) / requests) for name, seconds in after.items()]
        spent.append(("load generator", 1000 * load.cpu_seconds / requests))
        return sorted(spent, key=lambda each: -each[1])

    def _bare_target(self) -> Target:
        return Target(url=self._target.url, path="/healthz", headers={})

    def _in_turn(self, *, stages: bool = False) -> Load:
        return self._client.submit(in_turn, self._target, self._bodies, stages=stages).result()

    def _at_once(self) -> Load:
        work = self._client.submit(
            at_once, self._target, self._bodies, connections=CONNECTIONS, seconds=self._plan.seconds
        )
        return work.result()


def _median_ms(timed: Sequence[dict[str, float]], name: str) -> float:
    return 1000 * median(each[name] for each in timed)


def _cpu_seconds(tree: ProcessTree) -> dict[str, float]:
    """CPU seconds so far by title and id of the processes."""
    found = {}
    for process in tree.processes():
        times = process.cpu_times()
        title = (process.cmdline() or [process.name()])[0].split("/")[-1]
        found[f"{title} ({process.pid})"] = times.user + times.system
    return found


def measure(plan: Plan, *, profile: bool) -> dict[str, Any]:
    """Start an installation, fill it, measure; returns the object that is printed."""
    with installation(Settings()) as running, tempfile.TemporaryDirectory(prefix="kaizen-bench-") as scratch:
        source = Path(scratch) / "docstrings.jsonl"
        write_jsonl(source)
        taken = summary_of(running.run("jobs.ingest", str(source), "--json"))
        corpus = Corpus(running)
        wait_until_settled(running, corpus.grow(plan.chunks))
        bench = Bench(running, corpus, plan)
        bench.use()
        shards = wait_until_quiet(running)
        found, threads = bench.rounds()
        if profile:
            _print_profile(*bench.profile())
        bench.close()
    return {
        **_figures(found),
        "chunks": sum(shard["chunks"] for name, shard in shards.items() if name.endswith("-0")),  # of one copy
        "real_chunks": taken["chunks"],
        "segments": [shard["segments"] for shard in shards.values()],
        "limit_threads": threads,
        "ingest_chunks_per_s": taken["chunks_per_s"],
        "load_average": round(os.getloadavg()[0], 1),
    }


def _figures(found: Rounds) -> dict[str, Any]:
    slower, share = ratios(found.p50_ms, found.limit_p50_ms), ratios(found.rps, found.limit_rps)
    frugal = ratios(found.limit_cpu_ms, found.cpu_ms)
    return {
        "p50_ms": round(median(found.p50_ms), 2),
        "limit_p50_ms": round(median(found.limit_p50_ms), 2),
        "p50_ratio": round(median(slower), 2),
        "rps": round(median(found.rps), 1),
        "limit_rps": round(median(found.limit_rps), 1),
        "rps_ratio": round(median(share), 3),
        "p50_ratio_as_served": median_ratio(found.p50_ms, found.as_served_p50_ms),
        "rps_ratio_as_served": median_ratio(found.rps, found.as_served_rps),
        "spread": {
            "p50_ratio": [round(min(slower), 2), round(max(slower), 2)],
            "rps_ratio": [round(min(share), 3), round(max(share), 3)],
            "cpu_ratio": [round(min(frugal), 3), round(max(frugal), 3)],
        },
        "cpu_ms": round(median(found.cpu_ms), 2),
        "limit_cpu_ms": round(median(found.limit_cpu_ms), 2),
        "cpu_ratio": round(median(frugal), 3),
        "client_cpu_share": round(median(found.client_cpu_share), 3),
    }


def _print_profile(stages: Sequence[tuple[str, float, float | None]], spent: Sequence[tuple[str, float]]) -> None:
    console = Console(stderr=True)
    table = Table("stage", "ms", "limit, ms", title="One search, medians at one connection")
    for name, product, limit in stages:
        table.add_row(name, f"{product:.2f}", "" if limit is None else f"{limit:.2f}")
    console.print(table)
    table = Table("process", "CPU ms a request", title=f"At {CONNECTIONS} connections")
    for name, milliseconds in spent:
        if milliseconds >= 0.01:
            table.add_row(name, f"{milliseconds:.2f}")
    console.print(table)


def _draw(result: dict[str, Any]) -> Path:
    latency = [("product", result["p50_ms"]), ("one process", result["limit_p50_ms"])]
    rate = [("product", result["rps"]), ("one process", result["limit_rps"])]
    return write_chart(
        "search",
        f"Hybrid search over {result['chunks']} chunks beside the same work in one process",
        [
            Group(title="p50, 1 connection", unit="ms", bars=latency, goal=P50_GOAL * result["limit_p50_ms"]),
            Group(title="16 connections", unit="requests/s", bars=rate, goal=RPS_GOAL * result["limit_rps"]),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.search", __doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--profile", action="store_true", help="print where time goes, on standard error")
    options = parser.parse_args(arguments)
    result = measure(QUICK if options.quick else FULL, profile=options.profile)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
