"""Kaizen beside what one would pick instead: same machine, same text, same model, same queries, one run.

    python -m bench.peers [--quick] [--chunks N] [--part search|ingest] [--json]

prints one line, {"search": {..}, "ingest": {..}, "machine": {..}}, and writes bench/out/peers-search.svg and
peers-ingest.svg. The first run installs the peers into an environment of their own below bench/out (2.5 GB) and embeds
the passages.

The systems: Kaizen with default settings, in mode dense (all that its peers do) and hybrid (its default); one FastAPI
process with sentence-transformers and FAISS; txtai's API; a Chroma server with a FastAPI process that embeds in its
client; Ray Serve deployments around a store, as in Ray's example of retrieval; and the limit (`bench.search_limit`).

What differs, and is not in the figures: Kaizen checks a key, writes down what it showed before it answers,
answers with offsets and metadata, and embeds queries with ONNX Runtime, with weights in 8 bits where the processor
multiplies bytes; its peers use torch in 32 bits, as they come, and the limit ONNX Runtime in 32 bits. FastAPI+FAISS
keeps everything in memory and loses it. Chroma and txtai are not exact: `recall` says how far.

    search   p50_ratio (goal 1.5), rps_ratio (goal .7) to the limit of the same mode, the limit embedding in batches
             where that is faster; the same ..._as_served, to a limit with the weights of Kaizen; rps_times_best_peer
             (goal 2.5); by system p50 and p95 at one connection, rps and CPU a request at 16, p50 and p99 at half and
             at four fifths of its own rps, arriving at a constant rate and counted from when they were due; recall of
             the exact ten nearest; memory
    ingest   ratio to the bare model (goal .9), times_best_peer (goal 1.5)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.peers import ingest, search
from bench.peers.contender import SHARES, Plan
from kaizen.evaluation.bars import Group

FULL = Plan(chunks=100_000, queries=60, rounds=2, seconds=4.0)
QUICK = Plan(chunks=10_000, queries=30, rounds=1, seconds=3.0)
INGESTED = 3_000
QUICK_INGESTED = 1_000
P50_GOAL, RPS_GOAL, INGEST_GOAL = 1.5, 0.7, 0.9


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.peers", __doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 chunks, one short round, ingest of 1,000")
    parser.add_argument("--chunks", type=int, help="chunks in every index")
    parser.add_argument("--part", choices=("search", "ingest"), help="only this")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    if options.chunks:
        plan = Plan(chunks=options.chunks, queries=plan.queries, rounds=plan.rounds, seconds=plan.seconds)
    result: dict[str, Any] = {}
    charts = []
    if options.part != "ingest":
        result["search"] = search.measure(plan)
        charts.append(_draw_search(result["search"]))
    if options.part != "search":
        result["ingest"] = ingest.measure(QUICK_INGESTED if options.quick else INGESTED)
        charts.append(_draw_ingest(result["ingest"]))
    print_result(result, *charts, as_json=options.json)
    return 0


def _draw_search(result: dict[str, Any]) -> Path:
    systems = result["systems"]
    limit = systems["limit, dense"]

    def bars(figure: str) -> list[tuple[str, float]]:
        return [(name, found[figure]) for name, found in systems.items() if figure in found]

    late = f"p99_ms_at_{SHARES[-1]}"
    return write_chart(
        "peers-search",
        f"Search over {result['chunks']} chunks",
        [
            Group(title="p50, 1 connection", unit="ms", bars=bars("p50_ms"), goal=P50_GOAL * limit["p50_ms"]),
            Group(title="16 connections", unit="/s", bars=bars("rps"), goal=RPS_GOAL * limit["rps"]),
            Group(title=f"p99 at {SHARES[-1]:.0%} of that, constant rate", unit="ms", bars=bars(late)),
        ],
    )


def _draw_ingest(result: dict[str, Any]) -> Path:
    bare = sum(result["bare_chunks_per_s"]) / len(result["bare_chunks_per_s"])
    bars = [(name, found["chunks_per_s"]) for name, found in result["systems"].items()]
    groups = [Group(title="text to searchable", unit="/s", bars=[*bars, ("bare model", bare)], goal=INGEST_GOAL * bare)]
    return write_chart("peers-ingest", f"Ingest of {result['chunks']} chunks", groups)


if __name__ == "__main__":
    sys.exit(main())
