"""Where the memory of a running installation goes: by kind of process, idle, and for each 100,000 chunks more.

    python -m bench.memory [--quick] [--json]

prints one line, {"idle_mb": .., "per_100k_chunks_mb": .., "idle": {kind: MB, ..}, "full": {..}, "processes": {..}, ..},
and writes bench/out/memory.svg. About ten minutes; --quick fills in 20,000 chunks instead of 100,000.

Memory is the sum of proportional set sizes (PSS): pages that processes share count once. `idle` is an installation with
default settings that has answered one search and one question; `full` the same with the chunks (synthetic,
`bench.synthetic`), sealed and searched, half a minute later. Pages of files that are mapped count where they are
resident, though the system can take them back.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from actors.index_shard import KEEP_REPLACED_SECONDS
from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.corpus import queries
from bench.filled import fill
from bench.process_tree import ProcessTree, memory_bytes
from bench.search_index import wait_until_quiet
from cluster.throwaway import Installation, installation
from kaizen.config import Settings
from kaizen.evaluation.bars import Group

MEGABYTE = 2**20
CHUNKS, QUICK_CHUNKS = 100_000, 20_000
SEARCHES = 100
LET_GO_SECONDS = KEEP_REPLACED_SECONDS + 5  # after its last compaction a shard lets go of what was replaced
# What a process is, by what its command line holds; the first that fits.
KINDS = (
    ("index shards", r"ray::(IndexShard|build_shard)"),
    ("gateway replicas", r"ray::ServeReplica"),
    ("embedder", r"ray::Embedder"),
    ("generator", r"ray::GeneratorActor"),
    ("fleet and steward", r"ray::(Fleet|Steward)"),
    ("Serve", r"ray::(ServeController|ProxyActor|HAProxy)|haproxy"),
    ("idle workers", r"ray::IDLE|default_worker"),
    ("head", r"cluster\.head"),
    ("Ray's core", r"gcs_server|raylet|monitor\.py"),
    ("Ray's dashboard", r"[Dd]ashboard|Agent|multiprocessing"),
)


def kind_of(process: psutil.Process) -> str:
    """One of KINDS, or the start of its command line."""
    line = " ".join(process.cmdline()) or process.name()
    return next((kind for kind, pattern in KINDS if re.search(pattern, line)), line[:40])


def by_kind(pid: int) -> tuple[dict[str, float], dict[str, int]]:
    """Megabytes and number of processes by kind, of a process and all that it started."""
    sizes: Counter[str] = Counter()
    numbers: Counter[str] = Counter()
    for process in ProcessTree(pid).processes():
        try:
            kind, size = kind_of(process), memory_bytes(process)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
        sizes[kind] += size
        numbers[kind] += 1
    return {kind: round(size / MEGABYTE, 1) for kind, size in sizes.most_common()}, dict(numbers)


def use(running: Installation, searches: int) -> None:
    """Search so often, and ask once."""
    with httpx.Client(base_url=running.state.url, headers=running.headers, timeout=120, trust_env=False) as client:
        for text in queries(searches):
            client.post("/v1/search", json={"query": text, "timeout_seconds": 60}).raise_for_status()
        client.post("/v1/answer", json={"question": queries(1)[0], "timeout_seconds": 60}).raise_for_status()


def measure(chunks: int) -> dict[str, Any]:
    """Start an installation, look, fill it, look again; returns the object that is printed."""
    with installation(Settings(), {"learning": {"steward": True}}) as running:
        use(running, 1)
        idle, processes = by_kind(running.state.pid)
        fill(running, chunks)
        use(running, SEARCHES)
        wait_until_quiet(running)
        time.sleep(LET_GO_SECONDS)
        full, _ = by_kind(running.state.pid)
    growth = sum(full.values()) - sum(idle.values())
    return {
        "idle_mb": round(sum(idle.values()), 1),
        "full_mb": round(sum(full.values()), 1),
        "chunks": chunks,
        "per_100k_chunks_mb": round(growth * 100_000 / chunks, 1),
        "shards_per_100k_chunks_mb": round((full["index shards"] - idle["index shards"]) * 100_000 / chunks, 1),
        "idle": idle,
        "full": full,
        "processes": processes,
    }


def _show(result: dict[str, Any]) -> None:
    table = Table("process", "number", "idle, MB", f"{result['chunks']:,} chunks, MB")
    for kind, size in result["full"].items():
        table.add_row(kind, str(result["processes"].get(kind, 0)), str(result["idle"].get(kind, 0)), str(size))
    Console(stderr=True).print(table)


def _draw(result: dict[str, Any]) -> Path:
    kinds = list(result["full"])
    idle = [(kind, result["idle"].get(kind, 0.0)) for kind in kinds]
    return write_chart(
        "memory",
        f"Memory (PSS): {result['idle_mb']:.0f} MB idle, {result['per_100k_chunks_mb']:.0f} MB for 100,000 chunks",
        [
            Group(title="idle", unit="MB", bars=idle),
            Group(title=f"{result['chunks']:,} chunks", unit="MB", bars=list(result["full"].items())),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.memory", __doc__)
    parser.add_argument("--quick", action="store_true", help="fewer chunks")
    options = parser.parse_args(arguments)
    result = measure(QUICK_CHUNKS if options.quick else CHUNKS)
    chart = _draw(result)
    if not options.json:
        _show(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
