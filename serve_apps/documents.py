"""Documents over HTTP: durable in the ledger first, searchable moments later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Literal

from kaizen.errors import Corrupt, InvalidInput, NotFound, TooLarge
from kaizen.ids import check_document_id
from kaizen.indexing.batch import read_document
from kaizen.indexing.unsearchable import NO_VECTOR
from kaizen.records import Document, DocumentState, Principal
from kaizen.text.access_list import unread_access_list
from kaizen.text.document import make_document
from kaizen.text.metadata import access_groups
from kaizen.workspace import Workspace
from serve_apps.committed import committed
from serve_apps.indices import Indices
from serve_apps.schemas import ChangeResponse, DocumentBody, DocumentResponse, DocumentWithId

WAIT_SECONDS = 10.0
Wait = Literal["durable", "searchable"]


class DocumentWriter:
    """Writes and reads documents of a caller's tenant."""

    def __init__(self, workspace: Workspace, indices: Indices) -> None:
        self._indices = indices
        self._ledger = workspace.ledger
        self._store = workspace.store
        self._max_documents = workspace.settings.server.max_batch_documents

    async def put(self, principal: Principal, document: DocumentWithId, key: str | None, wait: Wait) -> ChangeResponse:
        """Store one document."""
        return await self.put_many(principal, [document], key, wait)

    async def put_many(
        self, principal: Principal, documents: list[DocumentWithId], key: str | None, wait: Wait
    ) -> ChangeResponse:
        """Store all or none."""
        if len(documents) > self._max_documents:
            raise TooLarge(
                f"{len(documents)} documents are more than {self._max_documents}.",
                advice="Send fewer at a time, or use `kaizen ingest`. The limit is server.max_batch_documents.",
            )
        # Megabytes of text take a while to normalise, hash and pack: not on the event loop.
        change = await asyncio.to_thread(self._submit, principal, documents, key)
        done = await self._acknowledge(committed(change), wait)
        # The embedder tells of what it refused before an index has come so far.
        if done.searchable and await asyncio.to_thread(self._any_refused, principal, documents):
            return done.model_copy(update={"searchable": False})
        return done

    async def delete(self, principal: Principal, document_id: str, wait: Wait) -> ChangeResponse:
        """Delete one document; raises NotFound."""
        change = self._ledger.documents.submit_delete(principal.tenant, document_id)
        return await self._acknowledge(committed(change), wait)

    async def get(self, principal: Principal, document_id: str) -> DocumentResponse:
        """One document as it is stored; raises NotFound also when the caller may not see it."""
        try:
            state, document = await asyncio.to_thread(self._read, principal.tenant, document_id)
        except NotFound as error:
            raise _not_found() from error
        if document.groups and not set(document.groups) & set(principal.groups):
            raise _not_found()
        return DocumentResponse(
            id=document.id,
            title=document.title,
            text=document.text,
            metadata=dict(document.metadata),
            groups=list(document.groups),
            source=document.source,
            seq=state.seq,
            content_sha256=state.content_sha256,
        )

    async def _acknowledge(self, change: Awaitable[int], wait: Wait) -> ChangeResponse:
        """The response is made only when the change is durable."""
        seq = await change
        self._indices.poke()
        reached = wait == "searchable" and await self._indices.reach(seq, WAIT_SECONDS)
        return ChangeResponse(seq=seq, searchable=reached)

    def _submit(self, principal: Principal, documents: list[DocumentWithId], key: str | None) -> Future[int]:
        return self._ledger.documents.submit_upsert_many([_document(principal, one) for one in documents], key)

    def _any_refused(self, principal: Principal, documents: list[DocumentWithId]) -> bool:
        ids = [document.id for document in documents]
        return bool(self._ledger.quarantine.told(principal.tenant, "", ids, NO_VECTOR))

    def _read(self, tenant: str, document_id: str) -> tuple[DocumentState, Document]:
        state, document = self._ledger.documents.get(tenant, document_id)
        if document is not None:
            return state, document
        try:
            return state, read_document(self._store, state.batch_uri, document_id)
        except (Corrupt, NotFound, OSError):
            if self._ledger.documents.get(tenant, document_id)[0].batch_uri == state.batch_uri:
                raise
        return self._read(tenant, document_id)  # its batch was written again meanwhile, without what is gone from it


def _not_found() -> NotFound:
    """In the same words for what is not there and for what the caller may not see: they must not be told apart."""
    return NotFound("There is no such document.", advice="Check the id and the groups of your key.")


def with_id(document_id: str, body: DocumentBody) -> DocumentWithId:
    """The document that was PUT at `document_id`; raises InvalidInput when that can name none."""
    return DocumentWithId(id=check_document_id(document_id), **body.model_dump())


def _document(principal: Principal, body: DocumentWithId) -> Document:
    if "\0" in body.text or "\0" in body.title:
        raise InvalidInput("The text has NUL characters.", advice="Send text, not binary data.")
    unread = "" if body.groups else unread_access_list(body.metadata)
    if unread:
        raise InvalidInput(
            f"The metadata of {body.id!r} has {unread!r}, which is not read as an access list.",
            advice='Send it as `groups`: ["hr", "legal"], beside `metadata`. Where it is none, name it otherwise.',
        )
    return make_document(
        tenant=principal.tenant,
        id=body.id,
        title=body.title,
        text=body.text,
        metadata=body.metadata,
        groups=access_groups(body.groups),
    )
