"""Which changes have lost documents to later ones, and since when: what they held can go."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """What was replaced or deleted before is so as of now. Which batches hold such documents nobody knows: all may."""
    op.create_index("documents_change", "documents", ["seq"])
    op.create_table(
        "superseded",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    lost = sa.text(
        "INSERT INTO superseded (seq, at) SELECT seq, :now FROM changes WHERE kind = 'batch' OR "
        "(kind = 'upsert' AND NOT EXISTS (SELECT 1 FROM documents WHERE documents.seq = changes.seq))"
    )
    op.create_index("superseded_at", "superseded", ["at", "seq"])
    op.get_bind().execute(lost, {"now": time.time()})
