"""Take documents in: read, sift, cut, embed, and record them in the ledger, batch by durable batch.

    python -m jobs.ingest SOURCE... [--tenant T] [--group G]... [--prune] [--config FILE] [--json]

SOURCE is a directory, a glob or a file, local or s3://. Runs on the cluster of `kaizen up` when that is running, else
on a Ray of its own. A kill at any point loses nothing that was counted: a rerun finds what is there by content and
does only the rest. Prints a summary; --json prints it as one line.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from actors.bulk_embedder import BulkEmbedder
from actors.reader import Reader, Sifter
from jobs.build_release import build_release
from jobs.connect import connected
from jobs.ingest_progress import Progress
from kaizen.commands.output import told
from kaizen.config import Settings
from kaizen.config_sources import check_environment, load_settings
from kaizen.errors import InvalidInput, KaizenError
from kaizen.indexing.seen import Seen
from kaizen.job import job_parser
from kaizen.records import Quarantined, Release
from kaizen.storage.ledger.documents import BatchEntry
from kaizen.text.sources import Expansion, expand
from kaizen.workspace import Workspace, open_workspace

# Small blocks keep memory flat: what is in flight is a few of them, whatever the size of the input.
BLOCK_BYTES = 2**20
READER_CPUS = 0.25
EMBEDDER_CPUS = 0.5
REASONS = 5  # to skip files, the commonest, that the summary tells
EMBEDDER_CALLS = 2  # one cuts or writes while the model's cores work for the other


@dataclass(kw_only=True)
class Summary:
    """What a run did. `kept` are documents that --prune would have deleted, had all of their source been read.

    `skipped_why` counts what was skipped by reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    skipped_why: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    head_seq: int = 0

    def record(self) -> dict[str, Any]:
        """The JSON object that `--json` prints."""
        names = ("documents", "chunks", "unchanged", "duplicate", "quarantined", "skipped", "deleted", "kept")
        return {
            **{name: self.counts[name] for name in names},
            "skipped_why": dict(self.skipped_why.most_common()),
            "seconds": round(self.seconds, 3),
            "chunks_per_s": round(self.counts["chunks"] / self.seconds, 2) if self.seconds else 0.0,
            "cpu_seconds": round(self.cpu_seconds, 2),
            "seq": self.head_seq,
        }


class Ingest:
    """One run over some sources for one tenant. `since`, `prune`: see `Seen`."""

    def __init__(
        self,
        workspace: Workspace,
        release: Release,
        expansion: Expansion,
        *,
        tenant: str,
        groups: tuple[str, ...],
        since: int,
        prune: bool,
    ) -> None:
        self._settings = workspace.settings
        self._ledger = workspace.ledger
        self._release = release
        self._expansion = expansion
        self._tenant = tenant
        self._groups = groups
        self._prune = prune
        self._seen = Seen(workspace.ledger.documents, tenant, expansion, since=since, prune=prune)
        self.summary = Summary()

    def run(self, progress: Progress) -> None:
        """Take in all units. What is recorded stays, whatever happens later."""
        progress.expect(self._expansion.documents)
        self.summary.skipped_why.update(self._expansion.skipped)
        self.summary.counts["skipped"] = self.summary.skipped_why.total()
        self._take(self._expansion, self._settings, progress)
        self._take_stranded(progress)
        for source in self._seen.listed():
            self._ledger.quarantine.settle(self._tenant, source, self._seen.is_unsettled)
        self.summary.head_seq = self._ledger.documents.head()
        if self._prune:  # last: what has moved is at its new place before it goes from the old one
            self._delete_unseen()

    def _take(self, expansion: Expansion, settings: Settings, progress: Progress) -> None:
        for batch in _pipeline(settings, self._release, expansion, self._tenant, self._groups):
            self._record(batch)
            progress.update(self.summary.counts)

    def _take_stranded(self, progress: Progress) -> None:
        """Take in the duplicates whose originals go, or have other content now."""
        again = self._seen.stranded()
        if not again.files:
            return
        self.summary.counts["duplicate"] -= sum(len(unit.only) for unit in again.files)
        every = self._settings.ingest.model_copy(update={"deduplicate": False})  # their originals may be there still
        self._take(again, self._settings.model_copy(update={"ingest": every}), progress)
        self._seen.check_taken(again)

    def _delete_unseen(self) -> None:
        """Delete documents that the run has not seen. Quarantined ones were seen and stay."""
        for source in self._seen.sources:
            unseen = self._seen.unseen(source)
            if not self._seen.is_complete(source):
                self.summary.counts["kept"] += len(unseen)
                continue
            if unseen:
                self.summary.head_seq = self._ledger.documents.delete_many(self._tenant, unseen)
            self.summary.counts["deleted"] += len(unseen)

    def _record(self, batch: dict[str, Any]) -> None:
        """Make one batch part of the truth, then what could not be taken."""
        refused = self._append(batch) if batch["ids"] else []
        for other in batch["others"]:
            self._see(other)
            if other["outcome"] in ("quarantined", "unread"):
                refused.append(_quarantined(self._tenant, other["source"], other["id"], other["reason"]))
            else:
                self.summary.counts[other["outcome"]] += 1
        if refused:
            self._ledger.quarantine.add_many(refused)
        self.summary.counts["quarantined"] += len(refused)
        self.summary.cpu_seconds += batch["cpu_seconds"]
        self._seen.see(batch["ids"])
        self._seen.see_unsettled(item.document_id for item in refused)

    def _see(self, other: dict[str, str]) -> None:
        if other["outcome"] == "unread":
            self._seen.see_unread(other["source"])
        elif other["outcome"] == "duplicate":
            self._seen.see_copy(other["id"], other["content_sha256"], other["unit"])
        elif other["outcome"] == "unchanged":
            self._seen.see_unsettled([other["id"]])
        else:
            self._seen.see([other["id"]])

    def _append(self, batch: dict[str, Any]) -> list[Quarantined]:
        rows = zip(batch["ids"], batch["content_sha256s"], batch["sources"], strict=True)
        entries = [BatchEntry(*row) for row in rows]
        try:
            self._ledger.documents.append_batch(self._tenant, batch["batch_uri"], entries, json.loads(batch["fields"]))
        except InvalidInput as error:  # another writer gave a field another type since the sieve looked
            return [_quarantined(self._tenant, e.source, e.id, str(error)) for e in entries]
        for source in {entry.source for entry in entries}:
            ids = [entry.id for entry in entries if entry.source == source]
            self._ledger.quarantine.clear(self._tenant, source, ids)
        self.summary.counts["documents"] += len(entries)
        self.summary.counts["chunks"] += batch["chunks"]
        return []


def _quarantined(tenant: str, source: str, document_id: str, reason: str) -> Quarantined:
    return Quarantined(tenant=tenant, source=source, document_id=document_id, reason=reason, at=time.time())


def _pipeline(
    settings: Settings, release: Release, expansion: Expansion, tenant: str, groups: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Rows of bulk_embedder.WRITTEN as they become durable."""
    context = DataContext.get_current()
    context.target_max_block_size = BLOCK_BYTES
    context.enable_progress_bars = False  # ours shows documents, Ray's shows blocks
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # an error is raised; logged, it comes twice
    units = np.empty(len(expansion.files), object)
    units[:] = expansion.files
    readers = min(len(units), 2)
    embedders = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    dataset = (
        ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=min(len(units), 64))
        .map_batches(
            Reader,
            fn_constructor_args=(settings, tenant, groups),
            batch_size=1,
            batch_format="numpy",
            compute=ActorPoolStrategy(size=readers),
            num_cpus=READER_CPUS,
        )
        .map_batches(
            Sifter,
            fn_constructor_args=(settings, tenant),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=1),
            num_cpus=0,
        )
        .map_batches(
            BulkEmbedder,
            fn_constructor_args=(settings, release),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=max(1, embedders),
                max_concurrent_calls_per_actor=EMBEDDER_CALLS,
                max_tasks_in_flight_per_actor=EMBEDDER_CALLS + 1,
                enable_true_multi_threading=True,
            ),
            num_cpus=EMBEDDER_CPUS,
            num_gpus=settings.embedder.gpus,
        )
    )
    yield from dataset.iter_rows()


def ingest(
    workspace: Workspace,
    sources: Sequence[str],
    *,
    tenant: str,
    groups: tuple[str, ...],
    prune: bool,
    progress: Progress,
) -> Summary:
    """Take in `sources` on the connected Ray cluster. Raises KaizenError when they cannot be listed."""
    settings = workspace.settings
    since = workspace.ledger.documents.head()
    expansion = expand(sources, endpoint_url=settings.objects.endpoint_url)
    release = _release(workspace)
    run_id = workspace.ledger.runs.begin(tenant, sources)
    job = Ingest(workspace, release, expansion, tenant=tenant, groups=groups, since=since, prune=prune)
    started, cpu_started = time.perf_counter(), time.process_time()
    job.run(progress)
    job.summary.seconds = time.perf_counter() - started
    job.summary.cpu_seconds += time.process_time() - cpu_started
    counts = {name: int(count) for name, count in job.summary.counts.items()}
    workspace.ledger.runs.finish(run_id, counts=counts, cpu_seconds=job.summary.cpu_seconds)
    return job.summary


def _release(workspace: Workspace) -> Release:
    """The release in service; one is made only where there is none: who gets what is not for an ingest to change."""
    return build_release(workspace) if workspace.ledger.rollout.current() is None else workspace.release()


def _parser() -> argparse.ArgumentParser:
    parser = job_parser("jobs.ingest", __doc__)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    parser.add_argument("--tenant", help="whose documents they are; default: workspace.tenant")
    parser.add_argument("--group", action="append", default=[], help="who may see them; repeat for several")
    parser.add_argument("--prune", action="store_true", help="delete documents that are gone from these sources")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        check_environment()
        workspace = open_workspace(load_settings(options.config).settings)
        tenant = options.tenant or workspace.settings.workspace.tenant
        with connected(workspace.settings), Progress(quiet=options.json and not sys.stderr.isatty()) as progress:
            summary = ingest(
                workspace,
                options.sources,
                tenant=tenant,
                groups=tuple(options.group),
                prune=options.prune,
                progress=progress,
            )
        _print(summary, as_json=options.json)
        sys.stdout.flush()
    except (KaizenError, OSError, RayError) as error:
        known = _known(error)
        if known is None:
            raise
        return told(known, as_json=options.json)
    return 0


def _known(error: BaseException | None) -> KaizenError | OSError | None:
    """The error of ours or of the system that a worker raised, under the wrappings in which Ray hands it over."""
    while error is not None and (isinstance(error, RayError) or not isinstance(error, KaizenError | OSError)):
        error = getattr(error, "cause", None) or error.__cause__
    return error


def _print(summary: Summary, *, as_json: bool) -> None:
    record = summary.record()
    if as_json:
        sys.stdout.write(json.dumps(record) + "\n")
        return
    sys.stdout.write(
        "{documents} documents in {chunks} chunks taken in, {unchanged} unchanged, {duplicate} duplicates, "
        "{quarantined} quarantined, {skipped} files skipped, {deleted} deleted.\n"
        "{seconds:.1f} s, {chunks_per_s:.1f} chunks/s, {cpu_seconds:.1f} CPU-seconds.\n".format(**record)
    )
    if record["skipped"]:
        sys.stdout.write(f"Skipped: {_reasons(summary.skipped_why)}.\n")
    if record["quarantined"]:
        sys.stdout.write("Why documents were quarantined: kaizen quarantine list\n")
    if record["kept"]:
        sys.stdout.write(
            f"{record['kept']} documents were not found, but stay: a part of their source could not be read. Mend or "
            "remove it (files and rows in quarantine, directories without permission, broken links), then --prune "
            "again.\n"
        )


def _reasons(counts: Counter[str]) -> str:
    told = counts.most_common(REASONS)
    others = counts.total() - sum(count for _, count in told)
    words = [f"{reason} {count}" for reason, count in told]
    return ", ".join(words + ([f"others {others} (--json names all)"] if others else []))


if __name__ == "__main__":
    sys.exit(main())
