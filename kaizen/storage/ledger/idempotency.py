"""Idempotency keys of document writes: the same key and content gives the first result again."""

from __future__ import annotations

import time

import sqlalchemy as sa

from kaizen.errors import Conflict, InvalidInput
from kaizen.storage.ledger.tables import idempotency

MAX_KEY_CHARACTERS = 255


def check_key(key: str) -> str:
    """Return `key` if it may be an idempotency key, else raise InvalidInput."""
    if len(key) > MAX_KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput(
            f"The idempotency key is over {MAX_KEY_CHARACTERS} characters or has unprintable ones.",
            advice="Use a UUID.",
        )
    return key


def recall(connection: sa.Connection, tenant: str, key: str, content_sha256: str) -> int | None:
    """Return the `seq` that a write under this key got; None when the key is new.

    Raises:
        Conflict: the key was used for other content.
    """
    found = connection.execute(
        sa.select(idempotency.c.seq, idempotency.c.content_sha256).where(
            idempotency.c.tenant == tenant, idempotency.c.key == key
        )
    ).one_or_none()
    if found is None:
        return None
    if found.content_sha256 != content_sha256:
        raise reused()
    return int(found.seq)


def remember(connection: sa.Connection, tenant: str, key: str, content_sha256: str, seq: int) -> None:
    """Bind the key to its first result, within the caller's write transaction."""
    row = {"tenant": tenant, "key": key, "content_sha256": content_sha256, "seq": seq, "at": time.time()}
    connection.execute(sa.insert(idempotency), row)


def old(connection: sa.Connection, before: float) -> int:
    """Return how many keys were bound before this moment."""
    query = sa.select(sa.func.count()).select_from(idempotency).where(idempotency.c.at < before)
    return connection.scalar(query) or 0


def forget(connection: sa.Connection, before: float, limit: int) -> int:
    """Delete at most `limit` of the keys that were bound before this moment, and return how many."""
    key = sa.tuple_(idempotency.c.tenant, idempotency.c.key)
    page = sa.select(idempotency.c.tenant, idempotency.c.key).where(idempotency.c.at < before).limit(limit)
    return connection.execute(sa.delete(idempotency).where(key.in_(page))).rowcount


def reused() -> Conflict:
    """The error of a key that comes back with other content."""
    return Conflict(
        "This idempotency key came before, with another request of this tenant for other content.",
        advice="Use a UUID for every new request: all API keys of a tenant share their idempotency keys.",
    )
