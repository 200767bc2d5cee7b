"""The stage of ingest that does the work: documents in, durable batches out. An actor of a Ray Data pool."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from kaizen.config import Settings
from kaizen.indexing.batch import document_from_row, document_table, write_batch
from kaizen.indexing.prepare import prepare
from kaizen.indexing.unsearchable import NO_VECTOR
from kaizen.models.embedder import Embedder, open_embedder
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.records import Document, Release
from kaizen.release import index_of
from kaizen.storage.ledger.metadata_schema import field_types
from kaizen.text.chunk import Chunker
from kaizen.text.tokens import TokenCounter
from kaizen.workspace import open_workspace

FATE = ("id", "source", "unit", "outcome", "reason", "content_sha256")
WRITTEN = pa.schema(
    [
        ("batch_uri", pa.string()),
        ("ids", pa.list_(pa.string())),
        ("content_sha256s", pa.list_(pa.string())),
        ("sources", pa.list_(pa.string())),
        ("fields", pa.string()),  # JSON: metadata field -> type
        ("others", pa.list_(pa.struct([(name, pa.string()) for name in FATE]))),
        ("chunks", pa.int64()),
        ("cpu_seconds", pa.float64()),
    ]
)
NOTHING: Mapping[str, Any] = {
    "batch_uri": "",
    "ids": (),
    "content_sha256s": (),
    "sources": (),
    "fields": "{}",
    "others": (),
    "chunks": 0,
    "cpu_seconds": 0.0,
}
# Seconds until Python lets another thread go on. By its own 5 ms, a call that cuts would hold up one that embeds at
# each operation of the model.
SWITCH_SECONDS = 0.0005
# Characters that make a batch of about `ingest.batch_chunks` chunks, at four characters a token.
CHARACTERS_PER_TOKEN = 4


class BulkEmbedder:
    """Cuts, embeds and writes; what it returns only needs to be recorded in the ledger.

    Meant for two calls at once: while one cuts or writes the model's cores work for the other.
    """

    def __init__(self, settings: Settings, release: Release) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        spec = EmbedderSpec.from_record(release.parts["embedder"])
        index = index_of(release)
        workspace = open_workspace(settings)
        self._store = workspace.store
        self._open_model = partial(open_embedder, spec, settings.embedder, "bulk", find=workspace.model_path)
        counter = TokenCounter.from_directory(
            workspace.model_path(spec.model), prompt=spec.document_prompt, lowercase=spec.lowercase
        )
        self._chunker = Chunker(counter, index.chunking)
        self._made_by = index.made_by
        self._batch_characters = settings.ingest.batch_chunks * index.chunking.max_tokens * CHARACTERS_PER_TOKEN
        self._lock = threading.Lock()  # guards what follows
        self._opened: Embedder | None = None
        self._counted_cpu_seconds = time.process_time()

    def _model(self) -> Embedder:
        """Loaded for the first document that needs it: a run over what is known already needs none, and no torch."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open_model()
            return self._opened

    def _cpu_seconds(self) -> float:
        """What the process has spent since somebody asked: calls that run at once share it."""
        with self._lock:
            since, self._counted_cpu_seconds = self._counted_cpu_seconds, time.process_time()
            return self._counted_cpu_seconds - since

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Sifted documents (reader.OUTCOME) -> rows of WRITTEN, one a durable batch; the first tells of the others."""
        listed = rows.to_pylist()
        others = [_fate(row) for row in listed if row["outcome"] != "embed"]
        waited = sum(row["cpu_seconds"] for row in listed)
        fresh = [document_from_row(row) for row in listed if row["outcome"] == "embed"]
        for documents in list(self._batches(fresh)) or [[]]:
            row = self._write(documents) if documents else dict(NOTHING)
            row["others"], others = [*others, *row["others"]], []
            row["cpu_seconds"] += waited
            waited = 0.0
            yield pa.Table.from_pylist([row], schema=WRITTEN)

    def _write(self, documents: Sequence[Document]) -> dict[str, Any]:
        done = prepare(documents, self._chunker, self._model())
        kept = [d for d in documents if (d.tenant, d.id) not in done.refused]
        uri = write_batch(self._store, document_table(kept), done.table, self._made_by) if kept else ""
        return {
            "batch_uri": uri,
            "ids": [d.id for d in kept],
            "content_sha256s": [d.content_sha256() for d in kept],
            "sources": [d.source for d in kept],
            "fields": json.dumps({name: kind for d in kept for name, kind in field_types(d.metadata).items()}),
            "others": [_refused(d) for d in documents if (d.tenant, d.id) in done.refused],
            "chunks": done.table.num_rows,
            "cpu_seconds": self._cpu_seconds(),
        }

    def _batches(self, documents: Sequence[Document]) -> Iterator[list[Document]]:
        batch: list[Document] = []
        characters = 0
        for document in documents:
            batch.append(document)
            characters += len(document.text)
            if characters >= self._batch_characters:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch


def _fate(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in FATE}


def _refused(document: Document) -> dict[str, str]:
    told = {"id": document.id, "source": document.source, "outcome": "quarantined", "reason": NO_VECTOR}
    return dict.fromkeys(FATE, "") | told
