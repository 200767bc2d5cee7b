"""The tables of the ledger, as the newest migration leaves them (a test compares the two).

Free text that came from outside lies in `JsonText` columns: JSON in plain TEXT with everything beyond ASCII
escaped, because PostgreSQL can hold neither NUL nor lone surrogates in text and both do occur in queries.
`seq` columns are filled by the database and only ever grow; times are for people, they order nothing.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from pydantic import ConfigDict, TypeAdapter
from sqlalchemy.engine import Dialect


class JsonText(sa.types.TypeDecorator[Any]):
    """A JSON value in a TEXT column, the same on every database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        return None if value is None else written_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:
        return None if value is None else json.loads(value)


# A number that JSON has not must be seen, and not become null.
_ANY = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))


def written_json(value: object) -> str:
    """As `json` writes it, in a quarter of the time: each search writes a hundred numbers. What is not plain (beyond
    ASCII, lone surrogates, no JSON number) is left to `json`, which refuses the last with ValueError."""
    try:
        written = _ANY.dump_json(value)
    except ValueError:
        written = b""
    if not written or not written.isascii() or b"NaN" in written or b"Infinity" in written:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return written.decode()


# SQLite gives ascending row ids only to a column declared exactly INTEGER.
Seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")
metadata = sa.MetaData()


def _seq() -> sa.Column[int]:
    return sa.Column("seq", Seq, primary_key=True, autoincrement=True)


changes = sa.Table(
    "changes",
    metadata,
    _seq(),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("document_id", sa.Text),
    sa.Column("batch_uri", sa.Text),
    # upsert: the document; delete_batch: the ids; both JSON. batch: where it lies if not at `batch_uri`, or empty.
    # Of an upsert it goes when a later change has taken its place, and the row stays: see `superseded`.
    sa.Column("payload", sa.Text),
    sa.Column("payload_bytes", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("tenant", "batch_uri", name="changes_batch"),
    sqlite_autoincrement=True,
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seq", Seq, sa.ForeignKey("changes.seq", name="documents_seq"), nullable=False),
    sa.Column("content_sha256", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("batch_uri", sa.Text, nullable=False),
    sa.Index("documents_content", "tenant", "content_sha256"),
    sa.Index("documents_source", "tenant", "source", "id"),
    sa.Index("documents_change", "seq"),
)

superseded = sa.Table(
    "superseded",
    metadata,
    sa.Column("seq", Seq, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Index("superseded_at", "at", "seq"),
)

metadata_fields = sa.Table(
    "metadata_fields",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("content_sha256", sa.Text, nullable=False),
    sa.Column("seq", Seq, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

impressions = sa.Table(
    "impressions",
    metadata,
    _seq(),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("index_seq", sa.BigInteger, nullable=False),
    sa.Column("body", JsonText, nullable=False),
    sa.UniqueConstraint("tenant", "id", name="impressions_id"),
    sqlite_autoincrement=True,
)

feedback = sa.Table(
    "feedback",
    metadata,
    _seq(),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("impression_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("chunk_id", sa.Text, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("text", JsonText, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.UniqueConstraint("tenant", "id", name="feedback_id"),
    sa.UniqueConstraint("tenant", "idempotency_key", name="feedback_idempotency"),
    sa.ForeignKeyConstraint(
        ["tenant", "impression_id"], ["impressions.tenant", "impressions.id"], name="feedback_impression"
    ),
    sa.Index("feedback_by_impression", "tenant", "impression_id"),
    sqlite_autoincrement=True,
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
    sa.Column("parts", JsonText, nullable=False),
    sa.Column("parent", sa.Text, sa.ForeignKey("releases.id", name="releases_parent")),
)

rollout = sa.Table(
    "rollout",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),  # always 1: there is one row
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("stable", sa.Text, sa.ForeignKey("releases.id", name="rollout_stable")),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("challenger", sa.Text),
    sa.Column("mode", sa.Text, nullable=False, server_default="off"),
    sa.Column("weight", sa.Double, nullable=False, server_default="0"),
    sa.Column("previous", sa.Text),
    sa.Column("since_impression", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("since_feedback", sa.BigInteger, nullable=False, server_default="0"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    _seq(),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("turn", sa.Text, nullable=False),
    sa.Column("reason", JsonText, nullable=False),
    sa.Column("evidence", JsonText, nullable=False),
    sqlite_autoincrement=True,
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("release", sa.Text, sa.ForeignKey("releases.id", name="candidates_release"), primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("rung", sa.Integer, nullable=False),
    sa.Column("turn", sa.Text, nullable=False),
    sa.Column("record", JsonText, nullable=False),
    sa.Column("verdict", sa.Text),
    sa.Column("reason", JsonText, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
)

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("record", JsonText, nullable=False),
)

judgements = sa.Table(
    "judgements",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("query_id", sa.Text, primary_key=True),
    sa.Column("document_id", sa.Text, primary_key=True),
    sa.Column("query", JsonText, nullable=False),
    sa.Column("grade", sa.Integer, nullable=False),
)

turns = sa.Table(
    "turns",
    metadata,
    _seq(),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("trigger", JsonText, nullable=False),
    sa.Column("state", JsonText, nullable=False),
    sa.Column("finished", sa.Double),
    sa.Column("outcome", JsonText, nullable=False),
    sqlite_autoincrement=True,
)

steward = sa.Table(
    "steward",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),  # always 1: there is one row
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("memory", JsonText, nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("secret_sha256", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("groups", JsonText, nullable=False),
    sa.Column("scopes", JsonText, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("revoked", sa.Double),
    sa.Index("keys_tenant", "tenant"),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("document_id", sa.Text, primary_key=True),
    sa.Column("reason", JsonText, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

ingest_runs = sa.Table(
    "ingest_runs",
    metadata,
    _seq(),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("sources", JsonText, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("finished", sa.Double),
    sa.Column("counts", JsonText, nullable=False),
    sa.Column("cpu_seconds", sa.Double),
    sa.Index("ingest_runs_tenant", "tenant", "seq"),
    sqlite_autoincrement=True,
)
