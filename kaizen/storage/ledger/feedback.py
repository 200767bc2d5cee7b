"""Feedback: judgements on impressions, each counted once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from kaizen.errors import InvalidInput
from kaizen.records import Feedback, FeedbackKind, is_same_caller
from kaizen.storage.ledger import idempotency, impressions
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import feedback
from kaizen.storage.ledger.tables import impressions as shown

_JUDGEMENT = ("impression_id", "kind", "chunk_id", "value", "text")


class FeedbackStore:
    """The feedback of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, judgement: Feedback) -> tuple[Feedback, bool]:
        """Store a judgement durably; return what is stored and whether this call created it.

        Raises:
            NotFound: the tenant has no such impression.
            InvalidInput: the chunk was not shown in it, or the value does not fit the kind.
            Conflict: the idempotency key came before with another judgement.
        """
        return self.submit_record(judgement).result()

    def submit_record(self, judgement: Feedback) -> Future[tuple[Feedback, bool]]:
        """As `record`, returning at once with a future."""
        _check_value(judgement)
        idempotency.check_key(judgement.idempotency_key)
        return self._database.submit(lambda connection: _record(connection, judgement))

    def after(self, seq: int, limit: int = 1000) -> list[tuple[int, Feedback]]:
        """Return the feedback of all tenants after `seq` (this table's own), in order, each with its `seq`."""
        query = sa.select(feedback).where(feedback.c.seq > seq).order_by(feedback.c.seq).limit(limit)
        with self._database.read() as connection:
            return [(row.seq, _feedback(row)) for row in connection.execute(query)]

    def start(self, impression: int) -> int:
        """Return the `seq` after which all feedback lies that is on impressions after the `seq` of one."""
        on = sa.and_(shown.c.tenant == feedback.c.tenant, shown.c.id == feedback.c.impression_id)
        query = sa.select(sa.func.min(feedback.c.seq)).join(shown, on).where(shown.c.seq > impression)
        with self._database.read() as connection:
            first = connection.scalar(query)
        return self.end() if first is None else first - 1

    def end(self) -> int:
        """Return the `seq` of the newest row; 0 when there is none."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(sa.func.max(feedback.c.seq))) or 0

    def of_impression(self, tenant: str, impression_id: str) -> list[Feedback]:
        """Return the feedback on one impression, in order."""
        query = (
            sa.select(feedback)
            .where(feedback.c.tenant == tenant, feedback.c.impression_id == impression_id)
            .order_by(feedback.c.seq)
        )
        with self._database.read() as connection:
            return [_feedback(row) for row in connection.execute(query)]

    def counts(self, tenant: str) -> Mapping[FeedbackKind, int]:
        """Return how many judgements of each kind a tenant has."""
        query = sa.select(feedback.c.kind, sa.func.count()).where(feedback.c.tenant == tenant).group_by(feedback.c.kind)
        with self._database.read() as connection:
            return dict(connection.execute(query).all())


def _check_value(judgement: Feedback) -> None:
    value, kind = judgement.value, judgement.kind
    fits = {
        "click": value == 1,
        "thumb": value in (1, -1),
        "rating": value is not None and 1 <= value <= 5,
        "comment": value is None and judgement.text != "",
        "correction": value is None and judgement.text != "",
    }
    if not fits[kind]:
        raise InvalidInput(
            f"This is not a {kind}.",
            advice="click: 1. thumb: 1 or -1. rating: 1 to 5. comment and correction: a text and no value.",
        )


def _record(connection: sa.Connection, judgement: Feedback) -> tuple[Feedback, bool]:
    earlier = _under_key(connection, judgement)
    if earlier is not None:
        return earlier, False
    shown = impressions.read(connection, judgement.tenant, judgement.impression_id).shown
    if judgement.chunk_id and judgement.chunk_id not in {chunk.chunk_id for chunk in shown}:
        raise InvalidInput(
            "This chunk was not shown in this impression.", advice="Send a chunk id from that response's results."
        )
    row = asdict(judgement)
    connection.execute(sa.insert(feedback), {**row, "idempotency_key": judgement.idempotency_key or None})
    return judgement, True


def _under_key(connection: sa.Connection, judgement: Feedback) -> Feedback | None:
    if not judgement.idempotency_key:
        return None
    row = connection.execute(
        sa.select(feedback).where(
            feedback.c.tenant == judgement.tenant, feedback.c.idempotency_key == judgement.idempotency_key
        )
    ).one_or_none()
    if row is None:
        return None
    stored = _feedback(row)
    is_same = all(getattr(stored, name) == getattr(judgement, name) for name in _JUDGEMENT)
    if not is_same or not is_same_caller(stored.identity, judgement.identity):
        raise idempotency.reused()
    return stored


def _feedback(row: sa.Row[Any]) -> Feedback:
    values = {name: value for name, value in row._mapping.items() if name != "seq"}
    return Feedback(**{**values, "idempotency_key": row.idempotency_key or ""})
