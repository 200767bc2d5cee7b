"""What a whole search costs as the index grows from 1,000 to 1,000,000 chunks: over HTTP, through gateway and shard.

    python -m bench.served [--quick] [--json]

prints one line and writes bench/out/served.svg. A quarter of an hour; --quick compares with 100,000 chunks.

`bench.growth` measures the shard's part alone. Here one installation for each size, with default settings (HAProxy, two
gateway replicas, one shard in two copies), opens a generation that was built as `bench.growth` builds it, and both are
asked in turns, so that a slow hour of the machine is slow for both. Chunks are synthetic (`bench.synthetic`). For each
size and mode, medians over the rounds:

    p50_ms          one query at a time over one connection
    cpu_ms          CPU time of all processes, Ray's too, for a request at 16 connections
    start_s         from starting the installation until it is ready, sums of all files checked; of both at once
    memory_mb       of all processes at the end (PSS), files that are mapped included

A dense query is a real question. A hybrid one has the made-up words of the chunks, which the embedder's vocabulary cuts
into many pieces: by what its embedding takes longer than a real question's, its figures are lowered.

`p50_growth` and `cpu_growth` compare the largest size with 1,000, by mode. Goal: 1.5
"""

from __future__ import annotations

import argparse
import json
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
from bench.corpus import queries
from bench.growth import GROWTH_GOAL, QUESTIONS, apart, build, built
from bench.http_load import Target, at_once, in_turn
from bench.process_tree import ProcessTree, memory_bytes
from bench.synthetic import TENANT, Question
from cluster.throwaway import Installation, started, write_config
from jobs.build_release import build_release
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.evaluation.bars import Group
from kaizen.indexing.generation import GenerationStore
from kaizen.release import index_of
from kaizen.retrieval.view import View
from kaizen.workspace import open_workspace

SIZES = (1_000, 1_000_000)
QUICK_SIZES = (1_000, 100_000)
ROUNDS, CONNECTIONS, SECONDS = 3, 16, 8.0
MODES = ("dense", "hybrid")
K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An installation that holds `chunks`; `spent[mode]` collects what each round measured."""

    chunks: int
    start_s: float
    running: Installation
    bodies: Mapping[str, Sequence[Mapping[str, Any]]]
    spent: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {mode: [] for mode in MODES})

    def round(self, mode: str) -> None:
        """Ask in one mode, first one by one, then many at a time."""
        target = Target(url=self.running.state.url, path="/v1/search", headers=self.running.headers)
        alone = in_turn(target, self.bodies[mode], stages=True)
        before = self._cpu_seconds()
        many = at_once(target, self.bodies[mode], connections=CONNECTIONS, seconds=SECONDS)
        cpu = self._cpu_seconds() - before
        self.spent[mode].append(
            {
                "p50": alone.quantile_ms(0.5),
                "embed": median(stages["embed"] for stages in alone.stages),
                "cpu": 1000 * cpu / len(many.seconds_each),
            }
        )

    def figures(self) -> dict[str, Any]:
        """What is printed of it."""
        alone = {name: {m: median(r[name] for r in self.spent[m]) for m in MODES} for name in ("p50", "embed", "cpu")}
        surplus = {"dense": 0.0, "hybrid": alone["embed"]["hybrid"] - alone["embed"]["dense"]}
        memory = sum(map(memory_bytes, ProcessTree(self.running.state.pid).processes()))
        return {
            "chunks": self.chunks,
            "start_s": round(self.start_s, 1),
            "memory_mb": round(memory / 2**20),
            "embedding_surplus_ms": round(surplus["hybrid"], 2),
            **{
                f"{name}_ms": {mode: round(alone[name][mode] - surplus[mode], 2) for mode in MODES}
                for name in ("p50", "cpu")
            },
        }

    def _cpu_seconds(self) -> float:
        tree = ProcessTree(self.running.state.pid)
        tree.look()
        return tree.cpu_seconds


def place(config: Path, view: View) -> None:
    """Make `view` what the first shard of the configuration's release opens."""
    workspace = open_workspace(load_settings(config).settings)
    spec = index_of(build_release(workspace))
    head = workspace.ledger.documents.head()  # of a ledger without documents: the shard must not seem to be ahead of it
    GenerationStore(workspace.store, spec.shard_prefix(0)).save(View(head, view.segments), None)


@contextmanager
def serving(chunks: int) -> Iterator[Served]:
    """An installation of `chunks` chunks."""
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
        config = write_config(Path(folder), Settings(), {"workspace": {"tenant": TENANT}})
        (config.parent / "workspace").mkdir(mode=0o700)
        asked = apart(_prepare, config, chunks)
        began = time.monotonic()
        with started(config) as running:
            yield Served(chunks=chunks, start_s=time.monotonic() - began, running=running, bodies=_bodies(asked))


def _prepare(config: Path, chunks: int) -> list[Question]:
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-", dir=config.parent) as folder:
        _, asked = build(Path(folder), chunks)
        place(config, built(Path(folder)))
    return asked


def _bodies(asked: Sequence[Question]) -> dict[str, list[dict[str, Any]]]:
    texts = {"dense": queries(QUESTIONS), "hybrid": [question.text for question in asked]}
    return {
        mode: [{"query": text, "k": K, "mode": mode, "timeout_seconds": 60} for text in texts[mode]] for mode in MODES
    }


def measure(sizes: Sequence[int]) -> dict[str, Any]:
    """All sizes side by side; returns the object that is printed."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        served = [stack.enter_context(serving(chunks)) for chunks in sizes]
        for number in range(ROUNDS + 1):
            for one in served:
                for mode in MODES:
                    one.round(mode)
            if number == 0:  # to warm up
                for one in served:
                    for rounds in one.spent.values():
                        rounds.clear()
            console.print(f"round {number} of {ROUNDS}")
        found = [one.figures() for one in served]
    first, last = found[0], found[-1]
    growth = {
        f"{name}_growth": {mode: round(last[f"{name}_ms"][mode] / first[f"{name}_ms"][mode], 2) for mode in MODES}
        for name in ("p50", "cpu")
    }
    return {**growth, "sizes": found}


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
    worst = max(result["p50_growth"].values())
    return write_chart(
        "served", f"A search over HTTP: {sizes[-1]['chunks']:,} chunks take at most {worst} times what 1,000 do", groups
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.served", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="up to 100,000 chunks")
    parser.add_argument("--json", action="store_true", help="print only the line of JSON")
    options = parser.parse_args(arguments)
    result = measure(QUICK_SIZES if options.quick else SIZES)
    chart = _draw(result)
    sys.stdout.write(json.dumps(result) + "\n")
    if not options.json:
        sys.stdout.write(f"chart: {chart}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
