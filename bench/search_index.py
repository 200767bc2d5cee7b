"""An index of any size in a minute: part of it embedded, the rest derived from that.

The first chunks are real: docstrings of the standard library through `jobs.ingest`. The others are synthetic: a derived
chunk is the first half of one real chunk and the second half of another, and its vector lies between theirs, moved by
noise. So postings, vectors and lengths are distributed much as in real text, at no cost of embedding. They go the way
of all batches: into the object store, then into the ledger.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from bench.http_load import Target, at_once
from bench.process_tree import ProcessTree
from cluster.throwaway import Installation
from kaizen.config_sources import load_settings
from kaizen.errors import DeadlineExceeded
from kaizen.indexing.batch import document_table, read_chunks, write_batch
from kaizen.records import Chunk, Document
from kaizen.release import IndexSpec, index_of
from kaizen.retrieval.chunk_table import chunk_table, split_vectors, with_vectors
from kaizen.retrieval.shard import QUIET
from kaizen.steward.drift_watch import REFERENCE_ROWS, WINDOW_ROWS
from kaizen.storage.ledger.documents import BatchEntry
from kaizen.workspace import Workspace, open_workspace

NOISE = 0.3  # length of the random part of a derived vector beside parents of length 1
SETTLE_SECONDS = 300.0
# When an installation counts as quiet: it took less of a core than this, at so many looks in a row, of so many seconds.
CALM_SHARE = 0.6
CALM_LOOKS = 3
LOOK_SECONDS = 2.0
# From so many searches on the steward measures drift, a quarter of an hour after it first saw the release, and again
# after each quarter of an hour.
USED_SEARCHES = REFERENCE_ROWS + WINDOW_ROWS
USE_SECONDS = 5.0


class Corpus:
    """What an installation holds, seen from below: its ledger and object store."""

    def __init__(self, running: Installation) -> None:
        self._workspace: Workspace = open_workspace(load_settings(running.config).settings)
        self.settings = self._workspace.settings
        ledger = self._workspace.ledger
        self.release = ledger.releases.get(ledger.rollout.current() or "")
        self.spec: IndexSpec = index_of(self.release)

    def rows(self) -> pa.Table:
        """All chunk rows with vectors."""
        changes = self._workspace.ledger.documents.changes_after(0)
        tables = [read_chunks(self._workspace.store, change.batch_uri, self.spec.made_by) for change in changes]
        return pa.concat_tables([table for table in tables if table is not None]).combine_chunks()

    def grow(self, chunks: int, seed: int = 0) -> int:
        """Add derived chunks until there are `chunks`; returns the ledger's head."""
        rows = self.rows()
        table, vectors = split_vectors(rows, self.spec.dim)
        size = self.settings.ingest.batch_chunks
        chance = np.random.default_rng(seed)
        for first in range(rows.num_rows, chunks, size):
            self.append(*_derived(table, vectors, range(first, min(first + size, chunks)), chance))
        return self._workspace.ledger.documents.head()

    def append(self, documents: Sequence[Document], vectors: np.ndarray) -> int:
        """Add documents of one chunk each, with vectors (n, dim) float32, normalised; returns the ledger's head."""
        own = chunk_table(documents, [[_only_chunk(document)] for document in documents])
        chunks = with_vectors(own, vectors)
        uri = write_batch(self._workspace.store, document_table(documents), chunks, self.spec.made_by)
        entries = [BatchEntry(d.id, d.content_sha256(), d.source) for d in documents]
        self._workspace.ledger.documents.append_batch(documents[0].tenant, uri, entries, {})
        return self._workspace.ledger.documents.head()


def wait_until_settled(running: Installation, seq: int) -> dict[str, dict[str, int]]:
    """Wait until all shards have reached `seq` and sealed what they hold; returns their sizes by name."""
    deadline, pause = time.monotonic() + SETTLE_SECONDS, threading.Event()
    with _client(running) as client:
        while time.monotonic() < deadline:
            shards = _shards(client)
            if all(s.get("seq", 0) >= seq and s["head_segments"] == 0 for s in shards.values()):
                return _sizes(shards)
            pause.wait(0.5)
    raise DeadlineExceeded(f"The shards did not settle in {SETTLE_SECONDS:.0f} s.", advice="See Ray's logs.")


def use(target: Target, bodies: Sequence[Mapping[str, Any]], *, connections: int) -> None:
    """Search as often as one that has been in use for a while was asked."""
    sent = 0
    while sent < USED_SEARCHES:
        sent += len(at_once(target, bodies, connections=connections, seconds=USE_SECONDS).seconds_each)


def wait_until_quiet(running: Installation) -> dict[str, dict[str, int]]:
    """Wait until an installation has done what it does by itself after many writes and searches; returns sizes.

    A minute after the last change a shard makes one segment of several, which takes most of a core for a while and is
    not what a search costs.
    """
    pause = threading.Event()
    pause.wait(QUIET * load_settings(running.config).settings.index.seal_seconds)
    tree, calm = ProcessTree(running.state.pid), 0
    deadline = time.monotonic() + SETTLE_SECONDS
    while calm < CALM_LOOKS:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"It is not quiet after {SETTLE_SECONDS:.0f} s.", advice="See what it does.")
        tree.look()
        before = tree.cpu_seconds
        pause.wait(LOOK_SECONDS)
        tree.look()
        calm = calm + 1 if tree.cpu_seconds - before < CALM_SHARE * LOOK_SECONDS else 0
    with _client(running) as client:
        return _sizes(_shards(client))


def _client(running: Installation) -> httpx.Client:
    return httpx.Client(base_url=running.state.url, headers=running.headers, timeout=60, trust_env=False)


def _shards(client: httpx.Client) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = client.get("/v1/status").raise_for_status().json()["fleet"]["shards"]
    return found


def _sizes(shards: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    return {name: {"chunks": s["chunks"], "segments": s["segments"]} for name, s in shards.items()}


def _derived(
    table: pa.Table, vectors: np.ndarray, numbers: range, chance: np.random.Generator
) -> tuple[list[Document], np.ndarray]:
    """Documents of one chunk each, and their vectors (n, dim) float32, normalised."""
    parents = chance.integers(0, len(vectors), (len(numbers), 2))
    noise = chance.standard_normal((len(numbers), vectors.shape[1])) / np.sqrt(vectors.shape[1])
    made = vectors[parents[:, 0]] + vectors[parents[:, 1]] + NOISE * noise
    texts, titles = table.column("text").to_pylist(), table.column("title").to_pylist()
    tenant = table.column("tenant")[0].as_py()
    documents = [
        Document(tenant=tenant, id=f"derived/{n}", title=titles[a], text=_halves(texts[a], texts[b]))
        for n, (a, b) in zip(numbers, parents, strict=True)
    ]
    return documents, (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def _halves(first: str, second: str) -> str:
    ahead, behind = first.split(), second.split()
    return " ".join([*ahead[: len(ahead) // 2 + 1], *behind[len(behind) // 2 :]])


def _only_chunk(document: Document) -> Chunk:
    return Chunk(document_id=document.id, ordinal=0, text=document.text, start=0, end=len(document.text), tokens=0)
