"""Batches without the documents that later changes replaced or deleted: written again, or not at all.

The order is what makes it safe. What remains is written first, under a new name; then the ledger lets the change lead
there, if it still leads to the old batch and has no document that was not written; only then may the old one go. After
a kill in between, one of the two is nobody's, and is collected as such. Between looking and writing a batch can only
have lost more documents, never got one: see `kaizen.storage.ledger.superseded`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kaizen.errors import Corrupt, NotFound, StorageFull, Unavailable
from kaizen.indexing.batch import ids_of, write_again
from kaizen.storage.ledger.documents import Documents
from kaizen.storage.ledger.superseded import ThinnedBatch
from kaizen.storage.object_store import ObjectStore, is_lost

AT_ONCE = 64  # batches that one look reads: after an upgrade all are to be looked at, and may lie far away


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinning:
    """What became of the batches that had lost documents.

    Attributes:
        free: names in the store of those that no change leads to any more.
        rewritten: those of `free` of which something remained, and lies under another name now.
        waiting: of whose documents none is left, and which lost the first too short a time ago.
    """

    free: tuple[str, ...]
    rewritten: tuple[str, ...]
    waiting: tuple[str, ...]


def thin(documents: Documents, store: ObjectStore, *, before: float, rewrite_before: float, dry_run: bool) -> Thinning:
    """Let the changes of batches that lost documents lead to what remains of them.

    One of which nothing remains leads nowhere when it lost the first document before `before`; one of which something
    does is written again when that was before `rewrite_before`: each time the whole of it lies there twice for a while.
    At most AT_ONCE of these are read, those that lost a document first; the next look goes on.

    Nothing is taken from the store. A dry run only says what would be `free`. A batch that cannot be read, or for which
    there is no room, stays for a later look.
    """
    batches = documents.thinned_batches()
    empty = [batch for batch in batches if batch.is_empty]
    due = [batch for batch in empty if batch.at < before]
    due += [batch for batch in batches if not batch.is_empty and batch.at < rewrite_before]
    done = dict(_led_elsewhere(documents, store, due, dry_run=dry_run))
    return Thinning(
        free=tuple(batch.uri for batch in done),
        rewritten=tuple(batch.uri for batch, uri in done.items() if uri),
        waiting=tuple(batch.uri for batch in empty if batch.at >= before),
    )


def _led_elsewhere(
    documents: Documents, store: ObjectStore, due: Sequence[ThinnedBatch], *, dry_run: bool
) -> Iterator[tuple[ThinnedBatch, str]]:
    """Those that are, and where what is left of each lies. Lost ones do not count: they would hold up all others."""
    left = AT_ONCE
    for batch in due:
        if not left:
            return
        try:
            uri = _thinned(documents, store, batch, dry_run=dry_run)
        except (Corrupt, NotFound, OSError):
            continue  # whoever needs it is told
        except (StorageFull, Unavailable):
            left -= 1
            continue
        left -= not batch.is_empty
        if uri is not None:
            yield batch, uri


def _thinned(documents: Documents, store: ObjectStore, batch: ThinnedBatch, *, dry_run: bool) -> str | None:
    """Where what is left of it lies now (empty: nowhere; in a dry run, where it lies); None where it stays as it is."""
    ids = documents.ids_at(batch.seq)
    if not ids:
        return "" if dry_run or documents.lead_elsewhere(batch, "", ids) else None
    held = ids_of(store, batch.uri)
    if not ids <= held:
        return None  # a document without its text: to write the others again would hide the loss
    if ids == held and not dry_run:
        documents.lead_elsewhere(batch, batch.uri, ids)
    if ids == held or dry_run:
        return batch.uri if ids < held else None
    uri = write_again(store, batch.uri, ids)
    if not documents.lead_elsewhere(batch, uri, ids):
        return None
    if is_lost(store, uri):  # stopped for so long that it was collected, before it was recorded, as nobody's
        documents.lead_elsewhere(replace(batch, uri=uri), batch.uri, held)
        return None
    return uri
