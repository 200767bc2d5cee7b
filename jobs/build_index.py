"""Bring the sealed index of a release up to the ledger's head, without the service.

    python -m jobs.build_index [--release RELEASE] [--config FILE] [--json]

One Ray task a shard reads the newest generation, applies what the ledger has since, and seals a new generation. After
a large ingest with the service down this spares `kaizen up` the reading, and a candidate with an index of its own can
be judged before any shard of it runs. A shard that is running does the same by itself, so this refuses to work beside
it.
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

from jobs.connect import connected
from kaizen.config import Settings
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
from kaizen.retrieval.shard import Shard
from kaizen.run_state import head_process, read_run_state
from kaizen.text.chunk import Chunker
from kaizen.text.tokens import TokenCounter
from kaizen.workspace import Workspace, open_workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltShard:
    """One shard as it is now."""

    shard: int
    seq: int
    chunks: int
    seconds: float
    cpu_s: float


def build_index(workspace: Workspace, release: Release) -> list[BuiltShard]:
    """Seal every shard of a release at the ledger's head, on the connected Ray cluster."""
    build = ray.remote(build_shard)
    tasks = [build.remote(workspace.settings, release, shard) for shard in range(index_of(release).shards)]
    built: list[BuiltShard] = ray.get(tasks)
    return built


def build_shard(settings: Settings, release: Release, shard: int) -> BuiltShard:
    """Seal one shard at the ledger's head, in this process."""
    faiss.omp_set_num_threads(1)
    started, cpu = time.perf_counter(), time.process_time()
    workspace = open_workspace(settings)
    spec = index_of(release)
    generations = GenerationStore(workspace.store, spec.shard_prefix(shard), workspace.ledger.documents.mark_of)
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
    machine = Shard(settings.index, seals=True)
    machine.loaded(generations.load().view, workspace.ledger.documents.head())
    while (changes := feed.after(machine.view.seq)) is not None:
        machine.changed(changes, now=0.0)
    # Far in the future everything that is unsealed is due.
    if (due := machine.next(now=float("inf"))) is not None:
        generations.seal(due, settings.index)
    return BuiltShard(
        shard=shard,
        seq=machine.view.seq,
        chunks=machine.view.rows,
        seconds=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu,
    )


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
    with connected(workspace.settings):
        built = build_index(workspace, release)
    if options.json:
        cost = {"cpu_s": round(sum(shard.cpu_s for shard in built), 2)}
        print_result({"shards": [asdict(shard) for shard in built], "cost": cost})
        return
    for one in built:
        sys.stdout.write(f"shard {one.shard}: {one.chunks} chunks at seq {one.seq} in {one.seconds:.1f} s\n")


if __name__ == "__main__":
    sys.exit(main())
