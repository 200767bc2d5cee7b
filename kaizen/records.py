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
Scope = Literal["search", "feedback", "delegate", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("search", "feedback", "delegate", "write", "admin")
RolloutMode = Literal["off", "shadow", "canary", "ab", "interleave"]
Team = Literal["", "stable", "challenger"]
Arm = Literal["stable", "challenger", "shadow", "interleaved"]
Rung = Literal[1, 2, 3, 4]
Verdict = Literal["promote", "reject", "keep_testing"]
MAX_QUERY_CHARACTERS = 4096  # of a query that is asked over HTTP
WAIT = "wait"  # in the timings of an impression: what it waited for the change that it was to see


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

    What later changes took the place of may be gone: then an `upsert` has its `document_id` and no `document`, and a
    `batch` names a directory of the documents that remain, or none.
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
    """One ranked chunk of an impression.

    Attributes:
        position: from 1.
        dense, lexical: the cosine, and the raw BM25; None where the mode did not compute it.
        propensity: probability that the logging policy put this chunk at this position (1 when nothing was random).
        team: which release drafted it, when the impression was interleaved.
        features: `retrieval.features.FEATURES` of this chunk for this query, in that order; what a ranker learns from.
    """

    chunk_id: str
    document_id: str
    position: int
    score: float
    dense: float | None
    lexical: float | None
    propensity: float
    team: Team = ""
    features: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Impression:
    """What was shown to whom, by which release.

    Attributes:
        user: whom the caller says that it asks for (a pseudonym; needs scope `delegate`); empty: the key itself.
        arm: on which side of a rollout it was made. `shadow` ones were never shown to anybody.
        rollout: version of the rollout's row that it was made under.
        challenger: the other release, when `arm` is `interleaved`; `release` is then the stable one.
        hurried: the caller gave it less time than it gets by default. What it lacks then is no fault of a release.
    """

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
    user: str = ""
    arm: Arm = "stable"
    rollout: int = 0
    challenger: str = ""
    hurried: bool = False

    @property
    def identity(self) -> str:
        """Who asked: the key, and the user it named. What one identity does is counted once, however often."""
        return identity_of(self.key_id, self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A judgement on an impression.

    value: click -> 1; thumb -> +1 or -1; rating -> 1..5; comment, correction -> None and `text` is set.
    chunk_id: what it is about; empty when it is about the whole (an answer).
    identity: who gave it (`identity_of`), so that one identity's weight can be capped.
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

    parts: embedder, index, retrieval, prompt, generator (and ranker, query_encoder, when they were learnt): each a
    JSON object with a `fingerprint`. `id` is `r<number>-<first 8 hex digits of the fingerprint over parts>`.
    """

    id: str
    number: int
    at: float
    fingerprint: str
    parts: Mapping[str, Mapping[str, Any]]
    parent: str | None

    def writes_as(self, other: Release) -> bool:
        """Whether both write the same answer from the same sources, whatever they find."""
        return all(self.parts.get(name) == other.parts.get(name) for name in ("prompt", "generator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A document that could not be taken, and why."""

    tenant: str
    source: str
    document_id: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """Who gets what: the ledger's one row, changed by compare-and-set only (`kaizen.rollout` has the transitions).

    Attributes:
        version: rises by one with every change.
        stable: release of everybody who is not given the challenger.
        challenger: a release on trial; None exactly when `mode` is `off`.
        mode: shadow: the challenger answers unseen. canary, ab: it answers the share `weight` of the identities.
            interleave: it drafts every other hit for the share `weight` of the searches.
        previous: what was stable before, kept warm: where a rollback goes.
        since_impression, since_feedback: `seq` of those tables when the row was changed; a test reads after them.
    """

    version: int
    stable: str | None
    challenger: str | None = None
    mode: RolloutMode = "off"
    weight: float = 0.0
    previous: str | None = None
    since_impression: int = 0
    since_feedback: int = 0
    at: float = 0.0

    @property
    def releases(self) -> tuple[str, ...]:
        """Every release that must be warm, each once: stable, challenger, previous."""
        named = (self.stable, self.challenger, self.previous)
        return tuple(dict.fromkeys(release for release in named if release is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Why something was done: one line of the ledger's audit of rollouts, of the steward and of the trusted set.

    Attributes:
        by: `steward`, or the id of the key, or `command` for somebody at the machine.
        kind: what was decided (`promote`, `rollback`, `reject`, `start_turn`, ...).
        evidence: all that it was decided from: figures, and the `seq`s between which they were read, so that the
            decision can be computed again.
    """

    seq: int
    at: float
    by: str
    kind: str
    release: str
    turn: str
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A release that was learnt and what is known of it.

    Attributes:
        record: what made it: `dataset`, `parent`, `settings`, `cost` (`cpu_s`, `gpu_s`, `wall_s`), `figures`;
            `earlier`: the same of the times before, when it was learnt more than once.
        verdict: None until it is judged; `report` then names its evaluation report in the object store.
    """

    release: str
    at: float
    rung: int
    turn: str
    record: Mapping[str, Any]
    verdict: Verdict | None = None
    reason: str = ""
    report: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A data set that was curated. `artifact`: its directory in the object store; see `kaizen.learning.dataset`."""

    id: str
    at: float
    artifact: str
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A trusted word on how relevant a document is to a query (grade 0: not at all). Feedback never becomes one."""

    tenant: str
    query_id: str
    query: str
    document_id: str
    grade: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One round of the steward. `state` is its whole memory: after a kill the next process goes on from it."""

    id: str
    at: float
    trigger: str
    state: Mapping[str, Any]
    finished: float | None = None
    outcome: str = ""


def identity_of(key_id: str, user: str) -> str:
    """Who acts: the key, or the user that a key with scope `delegate` names."""
    return f"{key_id}/{user}" if user else key_id


def is_same_caller(one: str, other: str) -> bool:
    """Whether two identities are one and the same, or a user of this name with two keys: one was renewed, say."""
    return one == other or one.partition("/")[2] == other.partition("/")[2] != ""
