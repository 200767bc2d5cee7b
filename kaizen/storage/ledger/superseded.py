"""Changes whose documents were replaced or deleted since: their content goes, their rows stay.

A change counts for those documents alone for which `documents` names its `seq`. Nobody but the write that makes it adds
to them; every later write only takes from them. So, within one history of a ledger:

* What has no document any more never gets one again, and whoever looked earlier saw at least those that it has now.
* The last change of each document keeps its content. Each statement here that removes some asks for that itself, in
  the transaction that removes it, whatever its caller has found out before.
* From any `seq` to the head, the changes therefore lead to the same documents with and without what is removed. On the
  way, at a `seq` between a change without content and the one that took its place, the document is missing, or the one
  of before it.
* A row stays, with its `seq` and all that its mark (`changes.mark_of`) is made of: generations end with it.

The table has a row for each change that has lost a document whose content is still there, with the time of the first
that it lost. An upsert has none left then. A batch has some or none; what remains of it is written again under another
name, or nothing is, and the change leads there from then on. The ledger comes first, the object goes after it: whoever
reads a change and then finds no object asks for the change again, and finds it led elsewhere, or has found a real loss.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kaizen.storage.ledger.changes import cut, location
from kaizen.storage.ledger.statements import insert_if_absent
from kaizen.storage.ledger.tables import changes, documents, superseded

_PAGE = 200
_PAGE_BYTES = 8 * 2**20  # SQLite overwrites what is removed: other writers wait no longer than for so much


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinnedBatch:
    """A batch that has lost documents.

    Attributes:
        uri: where in the store it lies.
        at: when it lost the first, seconds since the epoch.
        is_empty: whether it has none left.
    """

    seq: int
    uri: str
    at: float
    is_empty: bool


def mark(connection: sa.Connection, seqs: Iterable[int]) -> None:
    """These changes lose a document, within the caller's write transaction."""
    now = time.time()
    rows = [{"seq": seq, "at": now} for seq in sorted(set(seqs))]
    if rows:
        insert_if_absent(connection, superseded, rows)


def count_texts(connection: sa.Connection, before: float) -> int:
    """Return how many texts have been of no document since before this moment."""
    return connection.scalar(sa.select(sa.func.count()).select_from(_texts(before).subquery())) or 0


def forget_texts(connection: sa.Connection, before: float) -> int:
    """Remove a page of these texts, and return how many; 0 when there are none left."""
    sizes = sorted((row.seq, row.payload_bytes) for row in connection.execute(_page(before)))
    last = cut(sizes, _PAGE_BYTES)
    seqs = [seq for seq, _ in sizes if last is not None and seq <= last]
    if seqs:
        unneeded = changes.c.seq.in_(seqs), changes.c.kind == "upsert", ~_has_documents(changes.c.seq)
        connection.execute(sa.update(changes).where(*unneeded).values(payload=None))
        connection.execute(sa.delete(superseded).where(superseded.c.seq.in_(seqs)))
    return len(seqs)


def thinned_batches(connection: sa.Connection) -> list[ThinnedBatch]:
    """Return all batches that have lost documents, in the order in which they lost the first."""
    is_empty = (~_has_documents(superseded.c.seq)).label("is_empty")
    query = (
        sa.select(superseded, changes.c.batch_uri, changes.c.payload, is_empty)
        .join(changes, changes.c.seq == superseded.c.seq)
        .where(changes.c.kind == "batch")
    )
    return [
        ThinnedBatch(seq=row.seq, uri=location(row.batch_uri, row.payload), at=row.at, is_empty=bool(row.is_empty))
        for row in connection.execute(_oldest_first(query))
    ]


def ids_at(connection: sa.Connection, seq: int) -> frozenset[str]:
    """Return the ids of the documents that the change at `seq` counts for."""
    return frozenset(connection.scalars(sa.select(documents.c.id).where(documents.c.seq == seq)))


def lead_elsewhere(connection: sa.Connection, batch: ThinnedBatch, uri: str, ids: frozenset[str]) -> bool:
    """Let the change of `batch` lead to `uri` (empty: nowhere), where these of its documents lie.

    False, and nothing is done, when somebody was here before, or a document of the change is not among `ids`.
    """
    row = connection.execute(sa.select(changes).where(changes.c.seq == batch.seq)).one()
    left = ids_at(connection, batch.seq)
    if location(row.batch_uri, row.payload) != batch.uri or not left <= ids:
        return False
    connection.execute(sa.update(changes).where(changes.c.seq == batch.seq).values(payload=uri))
    connection.execute(sa.update(documents).where(documents.c.seq == batch.seq).values(batch_uri=uri))
    connection.execute(sa.delete(superseded).where(superseded.c.seq == batch.seq))
    mark(connection, [batch.seq] if left < ids else [])  # what went while the rest was written has its own time
    return True


def _texts(before: float) -> sa.Select[tuple[int, int]]:
    return (
        sa.select(changes.c.seq, changes.c.payload_bytes)
        .join(superseded, changes.c.seq == superseded.c.seq)
        .where(superseded.c.at < before, changes.c.kind == "upsert")
    )


def _page(before: float) -> sa.Select[tuple[int, int]]:
    """The oldest of them: in the order of an index, so that those which are not due cost nothing."""
    return _oldest_first(_texts(before)).limit(_PAGE)


def _oldest_first(query: sa.Select[Any]) -> sa.Select[Any]:
    return query.order_by(superseded.c.at, superseded.c.seq)


def _has_documents(seq: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    return sa.exists().where(documents.c.seq == seq)
