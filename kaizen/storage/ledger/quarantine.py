"""Quarantine: documents that could not be taken, and why."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from dataclasses import asdict

import sqlalchemy as sa

from kaizen.records import Quarantined
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.statements import parts, upsert
from kaizen.storage.ledger.tables import quarantine


class Quarantine:
    """What is in quarantine now: one row for each (tenant, source, document)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_many(self, items: Sequence[Quarantined]) -> None:
        """Put documents in quarantine; one that is there already gets the new reason and time."""
        rows = [asdict(item) for item in items]
        if rows:
            self._database.write(lambda connection: upsert(connection, quarantine, rows))

    def clear(self, tenant: str, source: str, document_ids: Sequence[str]) -> None:
        """Take documents out, because they succeeded. Those that are not there do no harm."""
        ids = list(document_ids)
        if ids:
            self._database.write(lambda connection: clear(connection, tenant, source, ids))

    def told(self, tenant: str, source: str, document_ids: Sequence[str], reason: str) -> builtins.list[str]:
        """Return those of these documents that are there for this reason."""
        query = sa.select(quarantine.c.document_id).where(
            quarantine.c.tenant == tenant, quarantine.c.source == source, quarantine.c.reason == reason
        )
        found: builtins.list[str] = []
        with self._database.read() as connection:
            for part in parts(document_ids):
                found += connection.scalars(query.where(quarantine.c.document_id.in_(part)))
        return found

    def settle(self, tenant: str, source: str, stays: Callable[[str], bool]) -> None:
        """Take out whatever of a source is there under an id that does not stay: it was mended, or is gone."""
        query = sa.select(quarantine.c.document_id).where(quarantine.c.tenant == tenant, quarantine.c.source == source)
        with self._database.read() as connection:
            found = list(connection.scalars(query))
        self.clear(tenant, source, [document_id for document_id in found if not stays(document_id)])

    def list(self, tenant: str, limit: int = 1000) -> list[Quarantined]:
        """Return what a tenant has in quarantine, ordered by source and document."""
        query = (
            sa.select(quarantine)
            .where(quarantine.c.tenant == tenant)
            .order_by(quarantine.c.source, quarantine.c.document_id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [Quarantined(**row._mapping) for row in connection.execute(query)]

    def count(self, tenant: str) -> int:
        """Return how many documents of a tenant are in quarantine."""
        query = sa.select(sa.func.count()).select_from(quarantine).where(quarantine.c.tenant == tenant)
        with self._database.read() as connection:
            return connection.scalar(query) or 0


def clear(connection: sa.Connection, tenant: str, source: str, ids: Sequence[str]) -> None:
    """See `Quarantine.clear`; within the caller's write transaction."""
    mine = sa.delete(quarantine).where(quarantine.c.tenant == tenant, quarantine.c.source == source)
    for part in parts(ids):
        connection.execute(mine.where(quarantine.c.document_id.in_(part)))


def holds(connection: sa.Connection, tenant: str, source: str, document_id: str) -> bool:
    """Whether a document of a source is in quarantine; within the caller's transaction."""
    query = sa.select(sa.literal(1)).where(
        quarantine.c.tenant == tenant, quarantine.c.source == source, quarantine.c.document_id == document_id
    )
    return connection.execute(query).first() is not None
