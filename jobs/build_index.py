"""Bring the sealed index of a release up to the ledger's head, without the service.

    python -m jobs.build_index [--release RELEASE] [--config FILE] [--json]

One Ray task a shard reads the newest generation, applies what the ledger has since, and seals a new generation every
minute and at the end: after a kill the same command goes on from the last one. After a large ingest with the service
down this spares `kaizen up` the reading, and a candidate with an index of its own can be judged before any shard of it
runs. A shard that is running does the same by itself, so this refuses to work beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import faiss
import pyarrow as pa
import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from jobs.connect import connected
from kaizen.config import IndexSettings, Settings
from kaizen.errors import Conflict
from kaizen.indexing.feed import Feed
from kaizen.indexing.generation import GenerationStore
from kaizen.indexing.prepare import prepare
from kaizen.indexing.unsearchable import tell_refused
from kaizen.job import configured_workspace, job_parser, print_result, run_job
from kaizen.models.embedder import Embedder, open_embedder
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.records import Document, Release
from kaizen.release import index_of
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.shard import Seal, Shard
from kaizen.run_state import head_process, read_run_state
from kaizen.text.chunk import Chunker
from kaizen.text.tokens import TokenCounter
from kaizen.workspace import Workspace, open_workspace

LOOK_SECONDS = 1.0
# What a kill may cost. A shard in service seals more often: here that would double the work where all is embedded.
SEAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltShard:
    """One shard as it is now."""

    shard: int
    seq: int
    chunks: int
    seconds: float
    cpu_s: float


def build_index(workspace: Workspace, release: Release, progress: Progress) -> list[BuiltShard]:
    """Seal every shard of a release at the ledger's head, on the connected Ray cluster."""
    build = ray.remote(build_shard)
    shards = range(index_of(release).shards)
    tasks = [build.remote(workspace.settings, release, shard) for shard in shards]
    bars = [progress.add_task(f"shard {shard}", total=workspace.ledger.documents.head()) for shard in shards]
    left = tasks
    while left:
        done, left = ray.wait(left, num_returns=len(left), timeout=LOOK_SECONDS)
        ray.get(done)  # what failed is told now
        for shard, bar in zip(shards, bars, strict=True):
            progress.update(bar, completed=_generations(workspace, release, shard).newest_seq())
    built: list[BuiltShard] = ray.get(tasks)
    for one, bar in zip(built, bars, strict=True):  # of what other shards have, nothing is sealed
        progress.update(bar, completed=one.seq, total=one.seq)
    return built


def build_shard(settings: Settings, release: Release, shard: int) -> BuiltShard:
    """Seal one shard at the ledger's head, in this process."""
    faiss.omp_set_num_threads(1)
    started, cpu = time.perf_counter(), time.process_time()
    workspace = open_workspace(settings)
    spec = index_of(release)
    generations = _generations(workspace, release, shard)
    feed = Feed(
        ledger=workspace.ledger,
        store=workspace.store,
        shard=shard,
        shards=spec.shards,
        dim=spec.dim,
        made_by=spec.made_by,
        prepare=_Preparer(workspace, release),
        analyser=Analyser(),
        settings=settings.index,
    )
    seldom = settings.index.model_copy(update={"seal_rows": sys.maxsize, "seal_seconds": SEAL_SECONDS})
    machine = Shard(seldom, seals=True)
    machine.loaded(generations.load().view, workspace.ledger.documents.head())
    while (changes := feed.after(machine.view.seq)) is not None:
        machine.changed(changes, time.monotonic())
        _seal_what_is_due(machine, generations, settings.index, time.monotonic())
    # Far in the future everything that is unsealed is due, and that there are few segments.
    _seal_what_is_due(machine, generations, settings.index, float("inf"))
    return BuiltShard(
        shard=shard,
        seq=machine.view.seq,
        chunks=machine.view.rows,
        seconds=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu,
    )


def _generations(workspace: Workspace, release: Release, shard: int) -> GenerationStore:
    prefix = index_of(release).shard_prefix(shard)
    return GenerationStore(workspace.store, prefix, workspace.ledger.documents)


def _seal_what_is_due(machine: Shard, generations: GenerationStore, settings: IndexSettings, now: float) -> None:
    """Nobody searches here: the head is not tidied."""
    while isinstance(due := machine.next(now), Seal):
        machine.sealed(due, generations.seal(due, settings), now)


class _Preparer:
    """Cuts and embeds documents that no batch has vectors for; the model is opened when the first one comes."""

    def __init__(self, workspace: Workspace, release: Release) -> None:
        self._settings = workspace.settings
        self._ledger = workspace.ledger
        self._find = workspace.model_path
        self._spec = EmbedderSpec.from_record(release.parts["embedder"])
        counter = TokenCounter.from_directory(
            self._find(self._spec.model), prompt=self._spec.document_prompt, lowercase=self._spec.lowercase
        )
        self._chunker = Chunker(counter, index_of(release).chunking)
        self._model: Embedder | None = None

    def __call__(self, documents: Sequence[Document]) -> pa.Table:
        if self._model is None:
            self._model = open_embedder(self._spec, self._settings.embedder, "bulk", find=self._find)
        done = prepare(documents, self._chunker, self._model)
        tell_refused(self._ledger, documents, done.refused)
        return done.table


def _refuse_beside_its_shards(workspace: Workspace, release: Release) -> None:
    state = read_run_state(workspace.settings.workspace.directory)
    if state is None or head_process(state) is None:
        return
    ledger = workspace.ledger
    running = {index_of(ledger.releases.get(name)).id for name in ledger.rollout.state().releases}
    if index_of(release).id in running:
        raise Conflict("The service runs and seals its shards itself.", advice="Let it, or `kaizen down` first.")


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = job_parser("jobs.build_index", __doc__)
    parser.add_argument("--release", default="", help="default: the stable one")
    return run_job(_build, parser.parse_args(arguments))


def _build(options: argparse.Namespace) -> None:
    workspace = configured_workspace(options)
    release = workspace.release(options.release)
    _refuse_beside_its_shards(workspace, release)
    quiet = options.json and not sys.stderr.isatty()
    counted = TextColumn("{task.completed:.0f} of {task.total:.0f} changes")
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeElapsedColumn())
    with connected(workspace.settings), Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        built = build_index(workspace, release, progress)
    if options.json:
        cost = {"cpu_s": round(sum(shard.cpu_s for shard in built), 2)}
        print_result({"shards": [asdict(shard) for shard in built], "cost": cost})
        return
    for one in built:
        sys.stdout.write(f"shard {one.shard}: {one.chunks} chunks at seq {one.seq} in {one.seconds:.1f} s\n")


if __name__ == "__main__":
    sys.exit(main())
