"""What a whole search costs as the index grows from 1,000 to 1,000,000 chunks: over HTTP, through gateway and shard.

    python -m bench.served [--quick] [--json]

prints one line and writes bench/out/served.svg. A quarter of an hour; --quick compares with 100,000 chunks.

`bench.growth` measures the shard's part alone. Here one installation for each size, with default settings (HAProxy, two
gateway replicas, one shard in two copies), opens a generation that was built as `bench.growth` builds it, and both are
asked in turns, so that a slow hour of the machine is slow for both; first both are used for a while, until neither does
anything by itself. Chunks are synthetic (`bench.synthetic`). For each size and mode, medians over the rounds:

    p50_ms          one query at a time over one connection
    cpu_ms          CPU time of all processes, Ray's too, for a request at 16 connections
    start_s         from starting the installation until it is ready, sums of all files checked by both copies
    memory_mb       of all processes at the end (PSS), files that are mapped included

A dense query is a real question. A lexical one has made-up words as the chunks have, and no embedding, which would cut
them into many pieces and take twice its time: that would hide a growth that is measured as a share.

`p50_growth` and `cpu_growth` compare the largest size with 1,000. Goal: 1.5. `hybrid` is at most what stands there: a
dense query and, on top, what words take more than at 1,000, over the dense query at 1,000.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.corpus import queries
from bench.growth import GROWTH_GOAL, QUESTIONS, apart, build, built
from bench.http_load import Target, at_once, in_turn
from bench.process_tree import ProcessTree
from bench.search_index import use, wait_until_quiet
from bench.synthetic import TENANT, Question
from cluster.throwaway import Installation, started, write_config
from jobs.build_release import build_release
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.evaluation.bars import Group
from kaizen.indexing.generation import GenerationStore
from kaizen.release import index_of
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.view import View
from kaizen.workspace import open_workspace

SIZES = (1_000, 1_000_000)
QUICK_SIZES = (1_000, 100_000)
ROUNDS, CONNECTIONS, SECONDS = 3, 16, 8.0
MODES: tuple[Mode, ...] = ("dense", "lexical")
K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An installation that holds `chunks`; `spent[mode]` collects what each round measured."""

    chunks: int
    start_s: float
    running: Installation
    tree: ProcessTree
    bodies: Mapping[Mode, Sequence[Mapping[str, Any]]]
    spent: dict[Mode, list[dict[str, float]]] = field(default_factory=lambda: {mode: [] for mode in MODES})

    @property
    def target(self) -> Target:
        """Where searches go."""
        return Target(url=self.running.state.url, path="/v1/search", headers=self.running.headers)

    def settle(self) -> None:
        """Warm up in all modes, and let it do what it does by itself after its first searches."""
        for mode in MODES:
            use(self.target, self.bodies[mode], connections=CONNECTIONS)
        wait_until_quiet(self.running)

    def round(self, mode: Mode) -> None:
        """Ask in one mode, first one by one, then many at a time."""
        alone = in_turn(self.target, self.bodies[mode])
        before = self._cpu_seconds()
        many = at_once(self.target, self.bodies[mode], connections=CONNECTIONS, seconds=SECONDS)
        cpu = self._cpu_seconds() - before
        self.spent[mode].append({"p50": alone.quantile_ms(0.5), "cpu": 1000 * cpu / len(many.seconds_each)})

    def figures(self) -> dict[str, Any]:
        """What is printed of it."""
        now = ProcessTree(self.running.state.pid)
        now.look()
        return {
            "chunks": self.chunks,
            "start_s": round(self.start_s, 1),
            "memory_mb": round(now.peak_bytes / 2**20),
            **{
                f"{name}_ms": {mode: round(median(one[name] for one in self.spent[mode]), 2) for mode in MODES}
                for name in ("p50", "cpu")
            },
        }

    def _cpu_seconds(self) -> float:
        self.tree.look()
        return self.tree.cpu_seconds


def place(config: Path, view: View) -> None:
    """Make `view` what the first shard of the configuration's release opens."""
    workspace = open_workspace(load_settings(config).settings)
    spec = index_of(build_release(workspace))
    head = workspace.ledger.documents.head()  # of a ledger without documents: the shard must not seem to be ahead of it
    generations = GenerationStore(workspace.store, spec.shard_prefix(0), workspace.ledger.documents)
    generations.save(View(head, view.segments), None)


@contextmanager
def serving(chunks: int) -> Iterator[Served]:
    """An installation of `chunks` chunks."""
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
        config = write_config(Path(folder), Settings(), {"workspace": {"tenant": TENANT}})
        (config.parent / "workspace").mkdir(mode=0o700)
        asked = apart(_prepare, config, chunks)
        began = time.monotonic()
        with started(config) as running:
            seconds, tree = time.monotonic() - began, ProcessTree(running.state.pid)
            yield Served(chunks=chunks, start_s=seconds, running=running, tree=tree, bodies=_bodies(asked))


def _prepare(config: Path, chunks: int) -> list[Question]:
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-", dir=config.parent) as folder:
        _, asked = build(Path(folder), chunks)
        place(config, built(Path(folder)))
    return asked


def _bodies(asked: Sequence[Question]) -> dict[Mode, list[dict[str, Any]]]:
    texts: dict[Mode, list[str]] = {"dense": queries(QUESTIONS), "lexical": [question.text for question in asked]}
    return {
        mode: [{"query": text, "k": K, "mode": mode, "timeout_seconds": 60} for text in texts[mode]] for mode in MODES
    }


def measure(sizes: Sequence[int]) -> dict[str, Any]:
    """All sizes side by side; returns the object that is printed."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        served = [stack.enter_context(serving(chunks)) for chunks in sizes]
        for one in served:
            one.settle()
        for number in range(1, ROUNDS + 1):
            for one in served:
                for mode in MODES:
                    one.round(mode)
            console.print(f"round {number} of {ROUNDS}")
        found = [one.figures() for one in served]
    return {f"{name}_growth": _growth(found[0][f"{name}_ms"], found[-1][f"{name}_ms"]) for name in ("p50", "cpu")} | {
        "sizes": found
    }


def _growth(first: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    more = last["lexical"] - first["lexical"]
    alone = {mode: last[mode] / first[mode] for mode in MODES}
    return {name: round(by, 2) for name, by in {**alone, "hybrid": (last["dense"] + more) / first["dense"]}.items()}


def _draw(result: dict[str, Any]) -> Path:
    sizes = result["sizes"]
    groups = [
        Group(
            title=f"{mode}, {title}",
            unit="ms",
            bars=[(f"{size['chunks']:,}", size[name][mode]) for size in sizes],
            goal=GROWTH_GOAL * sizes[0][name][mode],
        )
        for mode in MODES
        for name, title in (("p50_ms", "p50 at one connection"), ("cpu_ms", "CPU a request, all processes"))
    ]
    title = (
        f"A search over HTTP: {sizes[-1]['chunks']:,} chunks cost {result['cpu_growth']['hybrid']} times what 1,000 do"
    )
    return write_chart("served", title, groups)


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.served", __doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 chunks")
    options = parser.parse_args(arguments)
    result = measure(QUICK_SIZES if options.quick else SIZES)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
