"""The plain types that every part speaks. Frozen, keyword-only, importing nothing above the standard library.

Texts are str, times are seconds since the epoch in UTC (float), sequence numbers are the ledger's (int, from 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kaizen.ids import chunk_id, fingerprint

MetadataValue = str | int | float | bool | tuple[str, ...]
FieldType = Literal["string", "number", "boolean", "strings"]
ChangeKind = Literal["upsert", "delete", "batch", "delete_batch"]
FeedbackKind = Literal["click", "thumb", "rating", "comment", "correction"]
Scope = Literal["search", "feedback", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("search", "feedback", "write", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a user puts in.

    Attributes:
        tenant: whose it is.
        id: unique within the tenant; `ids.check_document_id` holds.
        groups: who may see it within the tenant; empty means everybody of the tenant.
        source: where it came from (a URI; empty for one that was PUT), the unit that `--prune` works on.
    """

    tenant: str
    id: str
    title: str
    text: str
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    source: str = ""

    def content_sha256(self) -> str:
        """Hash of all that a reader could see: two documents are exact duplicates when these are equal."""
        metadata = {k: list(v) if isinstance(v, tuple) else v for k, v in self.metadata.items()}
        return fingerprint([self.title, self.text, metadata, sorted(self.groups)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of one document: `document.text[start:end] == text`, offsets in characters."""

    document_id: str
    ordinal: int
    text: str
    start: int
    end: int
    tokens: int

    @property
    def id(self) -> str:
        return chunk_id(self.document_id, self.ordinal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the ledger's document log.

    kind `upsert`: `document` is set. `delete`: `document_id` is set. `batch`: `batch_uri` names an immutable
    directory in the object store with `documents.parquet` and `chunks.parquet` (see jobs.ingest).
    `delete_batch`: `document_ids` is set.
    """

    seq: int
    at: float
    tenant: str
    kind: ChangeKind
    document_id: str = ""
    document: Document | None = None
    batch_uri: str = ""
    document_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentState:
    """What the ledger knows of a document now, without its text. `seq` is that of the change that made it so."""

    tenant: str
    id: str
    seq: int
    content_sha256: str
    source: str
    batch_uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls: made from an API key and from nothing else. Tenant and groups are filters nobody can leave out."""

    key_id: str
    tenant: str
    groups: tuple[str, ...]
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChunk:
    """One ranked chunk of an impression. `position` from 1; `propensity` is the probability that the logging
    policy put this chunk at this position (1 for a deterministic ranking)."""

    chunk_id: str
    document_id: str
    position: int
    score: float
    dense: float | None
    lexical: float | None
    propensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Impression:
    """What was shown to whom, by which release."""

    id: str
    at: float
    tenant: str
    key_id: str
    release: str
    index_seq: int
    kind: Literal["search", "answer"]
    query: str
    mode: str
    shown: tuple[ShownChunk, ...]
    answer: str | None
    coverage: float
    degraded: tuple[str, ...]
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A judgement on an impression.

    value: click -> 1; thumb -> +1 or -1; rating -> 1..5; comment, correction -> None and `text` is set.
    chunk_id: what it is about; empty when it is about the whole (an answer).
    identity: the key that gave it, so that one identity's weight can be capped.
    """

    id: str
    at: float
    tenant: str
    impression_id: str
    kind: FeedbackKind
    chunk_id: str
    value: float | None
    text: str
    identity: str
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An immutable bundle: the unit that is evaluated, swapped and rolled back.

    parts: embedder, index, retrieval, prompt, generator (and ranker, when one is learnt): each a JSON object
    with a `fingerprint`. `id` is `r<number>-<first 8 hex digits of the fingerprint over parts>`.
    """

    id: str
    number: int
    at: float
    fingerprint: str
    parts: Mapping[str, Mapping[str, Any]]
    parent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A document that could not be taken, and why."""

    tenant: str
    source: str
    document_id: str
    reason: str
    at: float
