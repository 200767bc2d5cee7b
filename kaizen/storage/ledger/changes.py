"""The log of document changes: rows in, `Change` records out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from kaizen.ids import fingerprint
from kaizen.records import Change, ChangeKind, Document
from kaizen.storage.ledger.tables import changes


def append(
    connection: sa.Connection,
    tenant: str,
    kind: ChangeKind,
    *,
    document_id: str | None = None,
    batch_uri: str | None = None,
    payload: str | None = None,
) -> int:
    """Add one row within the caller's write transaction and return its `seq`."""
    row = {
        "at": time.time(),
        "tenant": tenant,
        "kind": kind,
        "document_id": document_id,
        "batch_uri": batch_uri,
        "payload": payload,
        "payload_bytes": len((payload or "").encode()),
    }
    key: Any = connection.execute(sa.insert(changes), row).inserted_primary_key
    return int(key[0])


def head(connection: sa.Connection) -> int:
    """Return the highest `seq`, 0 when nothing was ever written."""
    return connection.scalar(sa.select(sa.func.max(changes.c.seq))) or 0


def mark_of(connection: sa.Connection, seq: int) -> str | None:
    """Return what tells the change at `seq` from one that another history has there; None when there is no such change.

    A ledger that is restored from a backup counts on from there: the number comes again, its moment does not.
    """
    columns = (changes.c[name] for name in ("at", "tenant", "kind", "document_id", "batch_uri", "payload_bytes"))
    row = connection.execute(sa.select(*columns).where(changes.c.seq == seq)).one_or_none()
    return None if row is None else fingerprint(list(row))


def after(connection: sa.Connection, seq: int, limit: int, max_bytes: int) -> list[Change]:
    """Return the changes after `seq` in order: at most `limit`, and about `max_bytes` of text but at least one."""
    size = sa.case((changes.c.payload.is_(None), 0), else_=changes.c.payload_bytes)
    sizes: Sequence[Any] = connection.execute(
        sa.select(changes.c.seq, size).where(changes.c.seq > seq).order_by(changes.c.seq).limit(limit)
    ).all()
    last = cut(sizes, max_bytes)
    if last is None:
        return []
    found = connection.execute(
        sa.select(changes).where(changes.c.seq > seq, changes.c.seq <= last).order_by(changes.c.seq)
    )
    return [_change(row) for row in found]


def cut(sizes: Sequence[tuple[int, int]], max_bytes: int) -> int | None:
    """Return the last `seq` of those, in order, whose sizes make up about `max_bytes`; at least the first."""
    last, total = None, 0
    for seq, size in sizes:
        total += size
        if last is not None and total > max_bytes:
            break
        last = seq
    return last


def at(connection: sa.Connection, seq: int) -> Change:
    """Return the change at `seq`, as it is now."""
    return _change(connection.execute(sa.select(changes).where(changes.c.seq == seq)).one())


def location(batch_uri: str, payload: str | None) -> str:
    """Return where in the store that which is left of a batch lies; empty when nothing is."""
    return batch_uri if payload is None else payload


def encode_document(document: Document) -> str:
    """Return the document's JSON; NUL and other control characters come out escaped."""
    body = {
        "title": document.title,
        "text": document.text,
        "metadata": {k: list(v) if isinstance(v, tuple) else v for k, v in document.metadata.items()},
        "groups": list(document.groups),
        "source": document.source,
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def decode_document(tenant: str, document_id: str, payload: str) -> Document:
    """The inverse of `encode_document`."""
    body = json.loads(payload)
    return Document(
        tenant=tenant,
        id=document_id,
        title=body["title"],
        text=body["text"],
        metadata={k: tuple(v) if isinstance(v, list) else v for k, v in body["metadata"].items()},
        groups=tuple(body["groups"]),
        source=body["source"],
    )


def _change(row: sa.Row[Any]) -> Change:
    document, ids = None, ()
    if row.kind == "upsert" and row.payload is not None:
        document = decode_document(row.tenant, row.document_id, row.payload)
    elif row.kind == "delete_batch":
        ids = tuple(json.loads(row.payload))
    return Change(
        seq=row.seq,
        at=row.at,
        tenant=row.tenant,
        kind=row.kind,
        document_id=row.document_id or "",
        document=document,
        batch_uri=location(row.batch_uri, row.payload) if row.kind == "batch" else "",
        document_ids=ids,
    )
