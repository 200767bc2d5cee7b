"""Documents: their ordered changes and what each of them is now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from kaizen.errors import InvalidInput, NotFound
from kaizen.ids import check_document_id, fingerprint
from kaizen.records import Change, Document, DocumentState, FieldType
from kaizen.storage.ledger import changes, idempotency, metadata_schema, quarantine, superseded
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.statements import parts, upsert
from kaizen.storage.ledger.superseded import ThinnedBatch
from kaizen.storage.ledger.tables import changes as change_rows
from kaizen.storage.ledger.tables import documents

_PAGE = 1000
MAX_READ_BYTES = 64 * 2**20


class BatchEntry(NamedTuple):
    """One document of a batch that lies in the object store. A plain tuple of the same shape will do."""

    id: str
    content_sha256: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document checked and encoded, so that the writer thread has nothing left but SQL."""

    document: Document
    content_sha256: str
    fields: dict[str, FieldType]
    payload: str


class Documents:
    """The documents of all tenants. Every verb names the tenant; none crosses it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upsert(self, document: Document, idempotency_key: str | None = None) -> int:
        """Store a document durably and return the `seq` of the change.

        A document equal to what is stored under its id (content and source) adds no change: its `seq` is returned. One
        that is in quarantine does: whoever sends it again wants it tried again.

        Raises:
            InvalidInput: the id, the text or a metadata value cannot be stored, or a field has another type.
            Conflict: the idempotency key was used for other content.
            StorageFull, WriterStopped, Unavailable: see `GroupCommit.submit`.
        """
        return self.submit_upsert(document, idempotency_key).result()

    def upsert_many(self, documents: Sequence[Document], idempotency_key: str | None = None) -> int:
        """Store all or none, in order, and return the highest `seq`. All must be of one tenant."""
        return self.submit_upsert_many(documents, idempotency_key).result()

    def submit_upsert(self, document: Document, idempotency_key: str | None = None) -> Future[int]:
        """As `upsert`, returning at once with a future; in a coroutine: `await asyncio.wrap_future(...)`."""
        return self.submit_upsert_many([document], idempotency_key)

    def submit_upsert_many(self, documents: Sequence[Document], idempotency_key: str | None = None) -> Future[int]:
        """As `upsert_many`, returning at once with a future."""
        prepared = [_prepare(document) for document in documents]
        tenants = {document.tenant for document in documents}
        if len(tenants) != 1:
            raise InvalidInput("A write must hold documents of exactly one tenant.", advice="Split it by tenant.")
        key = idempotency.check_key(idempotency_key or "")
        tenant = tenants.pop()
        return self._database.submit(lambda connection: _upsert_all(connection, tenant, prepared, key))

    def append_batch(
        self,
        tenant: str,
        batch_uri: str,
        states: Sequence[BatchEntry | tuple[str, str, str]],
        fields: Mapping[str, FieldType],
    ) -> int:
        """Record a whole batch that lies in the object store as one change; return its `seq`.

        The same `batch_uri` again changes nothing and returns the first `seq`. `fields` are the types of all
        metadata fields in the batch; a conflict raises InvalidInput and nothing is recorded.
        """
        entries = [BatchEntry(*state) for state in states]
        for entry in entries:
            check_document_id(entry.id)
            _check_text("source", entry.source)
        return self._database.write(lambda connection: _append_batch(connection, tenant, batch_uri, entries, fields))

    def delete(self, tenant: str, document_id: str) -> int:
        """Delete a document and return the `seq` of the change; NotFound when there is none."""
        return self.submit_delete(tenant, document_id).result()

    def submit_delete(self, tenant: str, document_id: str) -> Future[int]:
        """As `delete`, returning at once with a future."""
        return self._database.submit(lambda connection: _delete(connection, tenant, document_id))

    def delete_many(self, tenant: str, ids: Sequence[str]) -> int:
        """Delete those of `ids` that exist, as one change, and return its `seq` (the head's when none existed)."""
        wanted = sorted(set(ids))
        return self._database.write(lambda connection: _delete_many(connection, tenant, wanted))

    def changes_after(self, seq: int, limit: int = 1000, max_bytes: int = MAX_READ_BYTES) -> list[Change]:
        """Return the changes of all tenants after `seq`, in order, with the document of every upsert.

        At most `limit` of them and about `max_bytes` of text, but always at least one if there is one: an empty
        list means that `seq` is the head. No change with a lower `seq` than one returned can appear later.
        """
        with self._database.read() as connection:
            return changes.after(connection, seq, limit, max_bytes)

    def head(self) -> int:
        """Return the highest `seq` of all changes; 0 when there are none."""
        with self._database.read() as connection:
            return changes.head(connection)

    def mark_of(self, seq: int) -> str | None:
        """Return by what the change at `seq` is known, in this history of this ledger and in no other; None: it has no
        such change."""
        with self._database.read() as connection:
            return changes.mark_of(connection, seq)

    def states(self, tenant: str, ids: Sequence[str]) -> dict[str, DocumentState]:
        """Return the present state of those of `ids` that exist."""
        with self._database.read() as connection:
            return _states(connection, tenant, ids)

    def get(self, tenant: str, document_id: str) -> tuple[DocumentState, Document | None]:
        """Return a document and its state; the document is None when it lies in the batch that the state names.

        Raises:
            NotFound: there is none, or it was deleted.
        """
        with self._database.read() as connection:
            return _get(connection, tenant, document_id)

    def ids_of_source(self, tenant: str, source: str, until: int) -> Iterator[str]:
        """Yield the ids of a source's documents that no change after `until` made, in order, a page at a time."""
        after = ""
        while page := self._page_of_source(tenant, source, until, after):
            yield from page
            after = page[-1]

    def first_id(self, tenant: str) -> str | None:
        """Return the first of a tenant's ids; None when it has no document."""
        query = sa.select(documents.c.id).where(documents.c.tenant == tenant).order_by(documents.c.id).limit(1)
        with self._database.read() as connection:
            found: str | None = connection.scalar(query)
        return found

    def count(self, tenant: str) -> int:
        """Return how many documents a tenant has."""
        with self._database.read() as connection:
            query = sa.select(sa.func.count()).select_from(documents).where(documents.c.tenant == tenant)
            return connection.scalar(query) or 0

    def total(self) -> int:
        """Return how many documents all tenants have."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(documents)) or 0

    def find_content(self, tenant: str, hashes: Sequence[str]) -> dict[str, str]:
        """Return, of those content hashes that are stored, the (first) id of a document that has it."""
        query = (
            sa.select(documents.c.content_sha256, sa.func.min(documents.c.id))
            .where(documents.c.tenant == tenant)
            .group_by(documents.c.content_sha256)
        )
        found: dict[str, str] = {}
        with self._database.read() as connection:
            for part in parts(hashes):
                found.update(connection.execute(query.where(documents.c.content_sha256.in_(part))).all())
        return found

    def holders(self, tenant: str, hashes: Sequence[str]) -> Iterator[tuple[str, str, str, int]]:
        """Yield (content hash, id, source, seq) of every document that has one of these contents."""
        columns = documents.c.content_sha256, documents.c.id, documents.c.source, documents.c.seq
        query = sa.select(*columns).where(documents.c.tenant == tenant)
        for part in parts(hashes):
            with self._database.read() as connection:
                found = connection.execute(query.where(documents.c.content_sha256.in_(part))).all()
            yield from (tuple(row) for row in found)

    def batches(self) -> frozenset[str]:
        """Return where in the store all batches lie that a change leads to."""
        listed = sa.select(change_rows.c.seq).where(change_rows.c.batch_uri.is_not(None))  # from an index alone
        query = sa.select(change_rows.c.batch_uri, change_rows.c.payload).where(change_rows.c.seq.in_(listed))
        with self._database.read() as connection:
            return frozenset(changes.location(*row) for row in connection.execute(query)) - {""}

    def batch_at(self, seq: int) -> str:
        """Return where in the store the batch of the change at `seq` lies now; empty when nothing of it is left."""
        with self._database.read() as connection:
            return changes.at(connection, seq).batch_uri

    def thinned_batches(self) -> list[ThinnedBatch]:
        """Return the batches that have lost documents to later changes."""
        with self._database.read() as connection:
            return superseded.thinned_batches(connection)

    def ids_at(self, seq: int) -> frozenset[str]:
        """Return the ids of the documents that no later change than this one has replaced or deleted."""
        with self._database.read() as connection:
            return superseded.ids_at(connection, seq)

    def lead_elsewhere(self, batch: ThinnedBatch, uri: str, ids: frozenset[str]) -> bool:
        """Let the change of `batch` lead to `uri` (empty: nowhere), where these of its documents lie.

        False, and nothing is done, when it does not lead to where `batch` says, or has a document beside `ids`.
        """
        return self._database.write(lambda connection: superseded.lead_elsewhere(connection, batch, uri, ids))

    def old_texts(self, before: float) -> int:
        """Return how many texts of changes were replaced or deleted before this moment, and are still there."""
        with self._database.read() as connection:
            return superseded.count_texts(connection, before)

    def forget_texts(self, before: float) -> int:
        """Remove the texts of changes that were replaced or deleted before this moment; return how many."""
        return self._forget(lambda connection: superseded.forget_texts(connection, before))

    def old_keys(self, before: float) -> int:
        """Return how many idempotency keys were bound before this moment."""
        with self._database.read() as connection:
            return idempotency.old(connection, before)

    def forget_keys(self, before: float) -> int:
        """Delete idempotency keys that were bound before this moment, a page at a time; return how many."""
        return self._forget(lambda connection: idempotency.forget(connection, before, _PAGE))

    def schema(self, tenant: str) -> Mapping[str, FieldType]:
        """Return the type of every metadata field that the tenant's documents ever had."""
        with self._database.read() as connection:
            return metadata_schema.read(connection, tenant)

    def _forget(self, page: Callable[[sa.Connection], int]) -> int:
        """Forget page by page, each in a transaction of its own, until there is none; return how many it were."""
        gone = 0
        while forgotten := self._database.write(page):
            gone += forgotten
        return gone

    def _page_of_source(self, tenant: str, source: str, until: int, after: str) -> list[str]:
        query = (
            sa.select(documents.c.id)
            .where(documents.c.tenant == tenant, documents.c.source == source, documents.c.id > after)
            .where(documents.c.seq <= until)
            .order_by(documents.c.id)
            .limit(_PAGE)
        )
        with self._database.read() as connection:
            return list(connection.scalars(query))


def _prepare(document: Document) -> _Prepared:
    check_document_id(document.id)
    _check_text("source", document.source)
    fields = metadata_schema.field_types(document.metadata)
    for name in fields:
        _check_text("metadata field name", name)
    try:
        content, payload = document.content_sha256(), changes.encode_document(document)
        payload.encode()
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise InvalidInput(
            "The document holds text that is not valid Unicode, or a value that JSON cannot hold.",
            advice="Decode the text with errors='replace' before sending it.",
        ) from error
    return _Prepared(document, content, fields, payload)


def _check_text(what: str, value: str) -> None:
    """Refuse what PostgreSQL cannot hold in a text column, on every database alike."""
    if any(c == "\0" or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise InvalidInput(f"The {what} has a NUL or a lone surrogate.", advice="Send valid Unicode text.")


def _upsert_all(connection: sa.Connection, tenant: str, prepared: Sequence[_Prepared], key: str) -> int:
    content = fingerprint([[p.document.id, p.document.source, p.content_sha256] for p in prepared]) if key else ""
    first = idempotency.recall(connection, tenant, key, content) if key else None
    if first is not None:
        return first
    seq = max(_upsert_one(connection, item) for item in prepared)
    if key:
        idempotency.remember(connection, tenant, key, content, seq)
    return seq


def _upsert_one(connection: sa.Connection, item: _Prepared) -> int:
    document = item.document
    present = _states(connection, document.tenant, [document.id]).get(document.id)
    same = present and (present.content_sha256, present.source) == (item.content_sha256, document.source)
    if present and same and not quarantine.holds(connection, document.tenant, document.source, document.id):
        return present.seq
    if item.fields:
        metadata_schema.register(connection, document.tenant, item.fields)
    seq = changes.append(connection, document.tenant, "upsert", document_id=document.id, payload=item.payload)
    superseded.mark(connection, [present.seq] if present else [])
    upsert(connection, documents, [_row(document.tenant, seq, document.id, item.content_sha256, document.source)])
    return seq


def _append_batch(
    connection: sa.Connection,
    tenant: str,
    batch_uri: str,
    entries: Sequence[BatchEntry],
    fields: Mapping[str, FieldType],
) -> int:
    first = connection.scalar(
        sa.select(change_rows.c.seq).where(change_rows.c.tenant == tenant, change_rows.c.batch_uri == batch_uri)
    )
    if first is not None:
        return int(first)
    metadata_schema.register(connection, tenant, fields)
    replaced = _states(connection, tenant, [entry.id for entry in entries])
    seq = changes.append(connection, tenant, "batch", batch_uri=batch_uri)
    superseded.mark(connection, [state.seq for state in replaced.values()])
    if entries:
        upsert(connection, documents, [_row(tenant, seq, *entry, batch_uri) for entry in entries])
    return seq


def _row(tenant: str, seq: int, document_id: str, sha256: str, source: str, batch_uri: str = "") -> dict[str, Any]:
    return {
        "tenant": tenant,
        "id": document_id,
        "seq": seq,
        "content_sha256": sha256,
        "source": source,
        "batch_uri": batch_uri,
    }


def _delete(connection: sa.Connection, tenant: str, document_id: str) -> int:
    state = _states(connection, tenant, [document_id]).get(document_id)
    if state is None:
        raise _no_document()
    connection.execute(sa.delete(documents).where(documents.c.tenant == tenant, documents.c.id == document_id))
    superseded.mark(connection, [state.seq])
    quarantine.clear(connection, tenant, state.source, [document_id])
    return changes.append(connection, tenant, "delete", document_id=document_id)


def _delete_many(connection: sa.Connection, tenant: str, ids: Sequence[str]) -> int:
    states = _states(connection, tenant, ids)
    if not states:
        return changes.head(connection)
    present = sorted(states)
    for part in parts(present):
        connection.execute(sa.delete(documents).where(documents.c.tenant == tenant, documents.c.id.in_(part)))
    superseded.mark(connection, [state.seq for state in states.values()])
    for source in {state.source for state in states.values()}:
        quarantine.clear(connection, tenant, source, [i for i in present if states[i].source == source])
    return changes.append(connection, tenant, "delete_batch", payload=json.dumps(present, ensure_ascii=False))


def _states(connection: sa.Connection, tenant: str, ids: Sequence[str]) -> dict[str, DocumentState]:
    query = sa.select(documents).where(documents.c.tenant == tenant)
    found: dict[str, DocumentState] = {}
    for part in parts(ids):
        found.update((row.id, _state(row)) for row in connection.execute(query.where(documents.c.id.in_(part))))
    return found


def _get(connection: sa.Connection, tenant: str, document_id: str) -> tuple[DocumentState, Document | None]:
    """In one statement: between two of PostgreSQL's the document could be replaced, and its text removed."""
    row = connection.execute(
        sa.select(documents, change_rows.c.kind, change_rows.c.payload)
        .join(change_rows, change_rows.c.seq == documents.c.seq)
        .where(documents.c.tenant == tenant, documents.c.id == document_id)
    ).one_or_none()
    if row is None:
        raise _no_document()
    document = changes.decode_document(tenant, document_id, row.payload) if row.kind == "upsert" else None
    return _state(row), document


def _state(row: sa.Row[Any]) -> DocumentState:
    return DocumentState(
        tenant=row.tenant,
        id=row.id,
        seq=row.seq,
        content_sha256=row.content_sha256,
        source=row.source,
        batch_uri=row.batch_uri,
    )


def _no_document() -> NotFound:
    return NotFound("There is no document with this id.", advice="Check the id; a deleted document is gone.")
