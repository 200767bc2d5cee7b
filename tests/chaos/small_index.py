"""A small installation without its processes: ledger, object store, a tiny embedder, and an index of two shards.

What writes here is the product's own code, from the readers of files to the sealed index; only Ray, which would carry
it from process to process, is left out, so that a trial takes a second.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import torch

import jobs.ingest
from actors.bulk_embedder import BulkEmbedder
from actors.reader import Reader, Sifter
from jobs.build_index import build_shard
from jobs.build_release import build_release
from jobs.ingest_progress import Progress
from kaizen.config import Settings
from kaizen.errors import KaizenError
from kaizen.indexing import batch
from kaizen.indexing.generation import GenerationStore, Loaded
from kaizen.records import Release
from kaizen.release import index_of
from kaizen.retrieval.view import View
from kaizen.text.sources import Expansion
from kaizen.workspace import Workspace, open_workspace
from tests.unit.models.tiny_model import write_tiny_model

TENANT = "default"
SHARDS = 2
WORDS = ("pump", "valve", "motor", "belt", "gear", "wheel")
Chunks = Counter[tuple[str, int, str]]
"""(document id, ordinal, text) of each chunk, and how often it is there."""


@dataclass(frozen=True, slots=True)
class SmallIndex:
    """An installation whose whole state lies in `workspace`.

    Attributes:
        embedder: its tiny model.
        sources: what to take in.
        parse_seconds: what a file may take to read.
    """

    workspace: Path
    embedder: Path
    sources: Path
    parse_seconds: float = 60.0

    @property
    def settings(self) -> Settings:
        return Settings.model_validate(
            {
                "workspace": {"directory": str(self.workspace)},
                "embedder": {"model": str(self.embedder)},
                "generator": {"kind": "extractive"},
                "chunking": {"max_tokens": 32, "overlap_tokens": 0},
                "fleet": {"shards": SHARDS},
                "ingest": {"batch_chunks": 8, "parse_seconds": self.parse_seconds},
            }
        )

    @property
    def objects(self) -> Path:
        """Where its object store lies."""
        return self.workspace / "objects"

    @contextmanager
    def opened(self) -> Iterator[Workspace]:
        """Its ledger and object store, for the block."""
        parts = open_workspace(self.settings)
        with parts.ledger:
            yield parts

    def copied(self, workspace: Path) -> SmallIndex:
        """A copy of all of its state, while nobody has it open."""
        shutil.copytree(self.workspace, workspace)
        return replace(self, workspace=workspace)

    def write_sources(self, first: int, count: int) -> None:
        """Add files to take in."""
        self.sources.mkdir(exist_ok=True)
        for number in range(first, first + count):
            (self.sources / f"{number:03d}.txt").write_text(text_of(number))


def make_small_index(directory: Path) -> SmallIndex:
    """Write a tiny embedder and make the release."""
    embedder = write_tiny_model(directory / "embedder")
    made = SmallIndex(directory / "workspace", embedder, directory / "sources")
    with patch.dict(os.environ, XDG_CACHE_HOME=str(directory / "cache")), made.opened() as parts:
        build_release(parts)
    return made


def text_of(number: int) -> str:
    """A few sentences: about three chunks."""
    words = [WORDS[(number + shift) % len(WORDS)] for shift in range(3)]
    return "\n\n".join(f"Part {number} of the {word} is a {word}. " + f"the {word} of a {word} " * 5 for word in words)


def take_in(workspace: Workspace, sources: Path, *, prune: bool = False) -> dict[str, Any]:
    """`kaizen ingest` of a folder; its summary."""
    torch.set_num_threads(1)
    with patch.object(jobs.ingest, "_pipeline", _one_after_the_other), Progress(quiet=True) as progress:
        summary = jobs.ingest.ingest(
            workspace, [str(sources)], tenant=TENANT, groups=(), prune=prune, progress=progress
        )
    return summary.record()


def seal(workspace: Workspace) -> None:
    """`python -m jobs.build_index`: bring every shard's generation up to the ledger's head."""
    for shard in range(SHARDS):
        build_shard(workspace.settings, stable(workspace), shard)


def stable(workspace: Workspace) -> Release:
    """The release in service."""
    return workspace.ledger.releases.get(workspace.ledger.rollout.current() or "")


def generations(workspace: Workspace) -> list[GenerationStore]:
    """Where each shard keeps its generations."""
    spec = index_of(stable(workspace))
    documents = workspace.ledger.documents
    return [GenerationStore(workspace.store, spec.shard_prefix(shard), documents) for shard in range(SHARDS)]


def loaded(workspace: Workspace) -> list[Loaded]:
    """What each shard finds when it starts."""
    return [store.load() for store in generations(workspace)]


def chunks_of(*views: View) -> Chunks:
    """What these views would find."""
    found: Chunks = Counter()
    for live in (live for view in views for live in view.segments):
        rows = live.segment.table.filter(pa.array(live.alive)).select(["document_id", "ordinal", "text"])
        found.update((row["document_id"], row["ordinal"], row["text"]) for row in rows.to_pylist())
    return found


def torn(parts: Workspace) -> list[str]:
    """What of the index, or of the batches that the ledger names, cannot be read."""
    found = [reason for shard in loaded(parts) for reason in shard.refused]
    for change in parts.ledger.documents.changes_after(0):
        if change.kind != "batch":
            continue
        try:
            batch.read_documents(parts.store, change.batch_uri)
        except KaizenError as error:
            found.append(str(error))
    return found


def _one_after_the_other(
    settings: Settings, release: Release, expansion: Expansion, tenant: str, groups: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """The stages of jobs.ingest without Ray Data between them."""
    read, sift, embed = Reader(settings, tenant, groups), Sifter(settings, tenant), BulkEmbedder(settings, release)
    for table in read({"unit": expansion.files}):  # type: ignore[dict-item]
        for done in embed(sift(table)):
            yield from done.to_pylist()
