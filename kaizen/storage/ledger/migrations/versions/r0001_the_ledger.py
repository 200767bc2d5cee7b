"""The ledger as it was born. Written out, not taken from `tables.py`, because that file moves on."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create every table; the rollout's one row stands at version 0 with no release."""
    _documents()
    _impressions()
    _feedback()
    _releases()
    _keys()
    _ingest()


def _seq() -> sa.Column[int]:
    return sa.Column("seq", SEQ, primary_key=True, autoincrement=True)


def _documents() -> None:
    op.create_table(
        "changes",
        _seq(),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("document_id", sa.Text),
        sa.Column("batch_uri", sa.Text),
        sa.Column("payload", sa.Text),
        sa.Column("payload_bytes", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("tenant", "batch_uri", name="changes_batch"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "documents",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("seq", SEQ, sa.ForeignKey("changes.seq", name="documents_seq"), nullable=False),
        sa.Column("content_sha256", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("batch_uri", sa.Text, nullable=False),
    )
    op.create_index("documents_content", "documents", ["tenant", "content_sha256"])
    op.create_index("documents_source", "documents", ["tenant", "source", "id"])
    op.create_table(
        "metadata_fields",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("content_sha256", sa.Text, nullable=False),
        sa.Column("seq", SEQ, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def _impressions() -> None:
    op.create_table(
        "impressions",
        _seq(),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("index_seq", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("tenant", "id", name="impressions_id"),
        sqlite_autoincrement=True,
    )


def _feedback() -> None:
    op.create_table(
        "feedback",
        _seq(),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("impression_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("chunk_id", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.UniqueConstraint("tenant", "id", name="feedback_id"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="feedback_idempotency"),
        sa.ForeignKeyConstraint(
            ["tenant", "impression_id"], ["impressions.tenant", "impressions.id"], name="feedback_impression"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("feedback_by_impression", "feedback", ["tenant", "impression_id"])


def _releases() -> None:
    op.create_table(
        "releases",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False, unique=True),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("parent", sa.Text, sa.ForeignKey("releases.id", name="releases_parent")),
    )
    rollout = op.create_table(
        "rollout",
        sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("stable", sa.Text, sa.ForeignKey("releases.id", name="rollout_stable")),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.bulk_insert(rollout, [{"only": 1, "version": 0, "stable": None, "at": 0.0}])


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("secret_sha256", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("revoked", sa.Double),
    )
    op.create_index("keys_tenant", "keys", ["tenant"])


def _ingest() -> None:
    op.create_table(
        "quarantine",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("document_id", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "ingest_runs",
        _seq(),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("cpu_seconds", sa.Double),
        sqlite_autoincrement=True,
    )
    op.create_index("ingest_runs_tenant", "ingest_runs", ["tenant", "seq"])
