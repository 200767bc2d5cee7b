"""What learning needs: a rollout with a challenger, decisions, candidates, data sets, trusted judgements, turns."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Widen the rollout's row; create the other tables; the steward starts unpaused and without a memory."""
    _rollout()
    _decisions()
    _candidates()
    _steward()


def _rollout() -> None:
    for column in (
        sa.Column("challenger", sa.Text),
        sa.Column("mode", sa.Text, nullable=False, server_default="off"),
        sa.Column("weight", sa.Double, nullable=False, server_default="0"),
        sa.Column("previous", sa.Text),
        sa.Column("since_impression", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("since_feedback", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("rollout", column)


def _decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("turn", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )


def _candidates() -> None:
    op.create_table(
        "candidates",
        sa.Column("release", sa.Text, sa.ForeignKey("releases.id", name="candidates_release"), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("rung", sa.Integer, nullable=False),
        sa.Column("turn", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "judgements",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("query_id", sa.Text, primary_key=True),
        sa.Column("document_id", sa.Text, primary_key=True),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("grade", sa.Integer, nullable=False),
    )


def _steward() -> None:
    op.create_table(
        "turns",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("outcome", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    steward = op.create_table(
        "steward",
        sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("memory", sa.Text, nullable=False),
    )
    op.bulk_insert(steward, [{"only": 1, "paused": False, "memory": "{}"}])
