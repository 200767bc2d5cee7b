"""API keys as the ledger keeps them: never the secret, only its hash. `kaizen.security.keys` makes and checks them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Scope
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.statements import insert_if_absent
from kaizen.storage.ledger.tables import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One API key. `revoked` is when it was revoked, None while it is good."""

    id: str
    secret_sha256: str = field(repr=False)
    tenant: str
    name: str
    groups: tuple[str, ...]
    scopes: tuple[Scope, ...]
    created: float
    revoked: float | None = None


class Keys:
    """The keys of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: KeyRecord) -> None:
        """Store a key durably. An id that exists is left as it is."""
        row = asdict(record)
        self._database.write(lambda connection: insert_if_absent(connection, keys, [row]))

    def find(self, key_id: str) -> KeyRecord | None:
        """Return a key, revoked or not; None when there is none with this id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(keys).where(keys.c.id == key_id)).one_or_none()
        return None if row is None else _record(row)

    def list(self, tenant: str | None = None) -> list[KeyRecord]:
        """Return the keys of one tenant, or of all, the oldest first."""
        query = sa.select(keys).order_by(keys.c.created, keys.c.id)
        with self._database.read() as connection:
            rows = connection.execute(query if tenant is None else query.where(keys.c.tenant == tenant))
            return [_record(row) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Revoke a key for good; again changes nothing. NotFound when there is none with this id."""
        self._database.write(lambda connection: _revoke(connection, key_id))


def _revoke(connection: sa.Connection, key_id: str) -> None:
    first = sa.func.coalesce(keys.c.revoked, time.time())
    if not connection.execute(sa.update(keys).where(keys.c.id == key_id).values(revoked=first)).rowcount:
        raise NotFound("There is no key with this id.", advice="List the keys to see their ids.")


def _record(row: sa.Row[Any]) -> KeyRecord:
    return KeyRecord(**{**row._mapping, "groups": tuple(row.groups), "scopes": tuple(row.scopes)})
