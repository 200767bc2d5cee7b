"""The first two stages of ingest: reading files into documents, and sifting out what needs no embedding."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from kaizen.config import Settings
from kaizen.indexing.batch import DOCUMENT_SCHEMA, document_from_row, document_row
from kaizen.indexing.sieve import Sieve
from kaizen.records import Document, Quarantined
from kaizen.text.parse import Unread, read_documents
from kaizen.text.sandbox import Sandbox
from kaizen.text.source_file import SourceFile
from kaizen.workspace import open_workspace

# What is handed on together, whichever is reached first: one query of the ledger, and what a reader holds in memory.
DOCUMENTS_AT_ONCE = 64
CHARACTERS_AT_ONCE = 500_000

OUTCOME = pa.schema(
    [
        *DOCUMENT_SCHEMA,
        ("unit", pa.string()),  # SourceFile.key
        ("outcome", pa.string()),  # sieve.Outcome, or "unread" (see parse.Unread); "" is still to be judged
        ("reason", pa.string()),
        ("content_sha256", pa.string()),  # of duplicates only
        ("cpu_seconds", pa.float64()),
    ]
)


class Reader:
    """Reads units of work; what cannot be read comes out as quarantined, with its reason."""

    def __init__(self, settings: Settings, tenant: str, groups: tuple[str, ...]) -> None:
        self._settings = settings.ingest
        self._tenant = tenant
        self._groups = groups
        self._sandbox = Sandbox(parse_seconds=settings.ingest.parse_seconds)

    def __call__(self, units: dict[str, Any]) -> Iterator[pa.Table]:
        """{"unit": (n,) SourceFile} -> tables of OUTCOME, a few documents each."""
        for unit in units["unit"]:
            started = time.process_time()
            for items in _batched(self._read(unit)):
                spent, started = time.process_time() - started, time.process_time()
                yield _table(unit, items, spent)

    def _read(self, unit: SourceFile) -> Iterator[Document | Quarantined]:
        return read_documents(unit, self._settings, self._tenant, self._groups, sandbox=self._sandbox)


class Sifter:
    """Marks each document with what to do with it. One actor for a run, since it must see all of them."""

    def __init__(self, settings: Settings, tenant: str) -> None:
        ledger = open_workspace(settings).ledger
        self._sieve = Sieve(ledger, tenant, deduplicate=settings.ingest.deduplicate)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """OUTCOME -> OUTCOME; only documents to embed keep their text, the others need it no longer."""
        started = time.process_time()
        listed = rows.to_pylist()
        fresh = [row for row in listed if not row["outcome"]]
        documents = [document_from_row(row) for row in fresh]
        verdicts = self._sieve.sift(documents, [row["unit"] for row in fresh])
        for row, document, verdict in zip(fresh, documents, verdicts, strict=True):
            row["outcome"], row["reason"] = verdict.outcome, verdict.reason
            if verdict.outcome == "duplicate":
                row["content_sha256"] = document.content_sha256()
        for row in listed:
            if row["outcome"] != "embed":
                row["text"] = ""
        if listed:
            listed[0]["cpu_seconds"] += time.process_time() - started
        return pa.Table.from_pylist(listed, schema=OUTCOME)


def _batched(items: Iterable[Document | Quarantined]) -> Iterator[list[Document | Quarantined]]:
    batch: list[Document | Quarantined] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += len(item.text) if isinstance(item, Document) else 0
        if len(batch) >= DOCUMENTS_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _table(unit: SourceFile, items: Iterable[Document | Quarantined], cpu_seconds: float) -> pa.Table:
    rows = [_row(item) for item in items]
    for row in rows:
        row |= {"unit": unit.key, "content_sha256": "", "cpu_seconds": 0.0}
    rows[0]["cpu_seconds"] = cpu_seconds
    return pa.Table.from_pylist(rows, schema=OUTCOME)


def _row(item: Document | Quarantined) -> dict[str, Any]:
    if isinstance(item, Document):
        return {**document_row(item), "outcome": "", "reason": ""}
    return {
        "tenant": item.tenant,
        "id": item.document_id,
        "title": "",
        "text": "",
        "metadata": "{}",
        "groups": [],
        "source": item.source,
        "outcome": "unread" if isinstance(item, Unread) else "quarantined",
        "reason": item.reason,
    }
