"""The ledger's changes, as one shard needs them: only its documents, cut and embedded, only their last version.

A change whose content is gone, since later ones took its place, replaces its document by nothing, or is nothing where
it is a batch: the later ones follow, and with them every shard comes to the same, from wherever it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from kaizen.config import IndexSettings
from kaizen.errors import Corrupt, NotFound
from kaizen.ids import shard_of
from kaizen.indexing.batch import read_chunks, read_documents
from kaizen.records import Change, Document
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.chunk_table import keep_last_versions, split_vectors
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.shard import ShardChanges
from kaizen.storage.ledger import Ledger
from kaizen.storage.object_store import ObjectStore

# Changes read in one go: enough to make embedding batches worthwhile, few enough to keep freshness under a second.
CHANGES_AT_ONCE = 64


Keys = tuple[tuple[str, str], ...]  # (tenant, document id)


@dataclass(frozen=True, slots=True)
class Feed:
    """Reads changes for shard `shard` of `shards`.

    prepare: documents -> chunk rows with `vector` (an embedder's work, maybe in another process). A document that
        cannot be embedded is left out there and quarantined: here it is then replaced by nothing.
    made_by: fingerprint of the embedder and chunking of this index.
    """

    ledger: Ledger
    store: ObjectStore
    shard: int
    shards: int
    dim: int
    made_by: str
    prepare: Callable[[Sequence[Document]], pa.Table]
    analyser: Analyser
    settings: IndexSettings

    def after(self, seq: int) -> ShardChanges | None:
        """The next run of changes after `seq`; None when there are none yet."""
        changes = self.ledger.documents.changes_after(seq, CHANGES_AT_ONCE)
        if not changes:
            return None
        run = _one_batch_or_many_singles(changes)
        replaced, rows = self._from_batch(run[0]) if run[0].kind == "batch" else self._from_singles(run)
        return ShardChanges(run[-1].seq, replaced, self._segment(rows))

    def _mine(self, tenant: str, document_id: str) -> bool:
        return shard_of(tenant, document_id, self.shards) == self.shard

    def _from_batch(self, change: Change) -> tuple[Keys, pa.Table | None]:
        if not change.batch_uri:
            return (), None
        try:
            rows = read_chunks(self.store, change.batch_uri, self.made_by)
            others = read_documents(self.store, change.batch_uri) if rows is None else []
        except (Corrupt, NotFound, OSError) as error:
            return self._from_batch(self._led_elsewhere(change, error))
        if rows is None:  # made by another embedder: cut and embed again
            documents = [d for d in others if self._mine(d.tenant, d.id)]
            return tuple((d.tenant, d.id) for d in documents), self.prepare(documents) if documents else None
        names = rows.column("document_id").to_pylist()
        mine = {name: self._mine(change.tenant, name) for name in set(names)}
        own = keep_last_versions(rows.filter(pa.array([mine[name] for name in names], pa.bool_())))
        return tuple((change.tenant, name) for name in own.column("document_id").unique().to_pylist()), own

    def _led_elsewhere(self, change: Change, error: Exception) -> Change:
        """The change as it is now: between reading it and its batch, the batch may have been thinned and collected.

        A batch that should be there and is not stops the shard: it would silently lack documents.
        """
        ids = self.ledger.documents.ids_at(change.seq)
        uri = self.ledger.documents.batch_at(change.seq) if ids else ""
        if uri != change.batch_uri:
            return replace(change, batch_uri=uri)
        if isinstance(error, NotFound):
            raise NotFound(
                f"{len(ids)} documents lie in {uri}, which the object store has not.",
                advice="Restore its `batches` as they were on the ledger's day, or delete the documents that have this "
                "`batch_uri` in the ledger's table `documents`, and take them in again.",
            ) from error
        raise error

    def _from_singles(self, run: Sequence[Change]) -> tuple[Keys, pa.Table | None]:
        last: dict[tuple[str, str], Document | None] = {}
        for change in run:
            for name in change.document_ids or (change.document_id,):
                if self._mine(change.tenant, name):
                    last[(change.tenant, name)] = change.document
        living = [document for document in last.values() if document is not None]
        return tuple(last), self.prepare(living) if living else None

    def _segment(self, rows: pa.Table | None) -> Segment | None:
        if rows is None or not rows.num_rows:
            return None
        table, vectors = split_vectors(rows.combine_chunks(), self.dim)
        return Segment.build(table, vectors, self.analyser, self.settings)


def _one_batch_or_many_singles(changes: Sequence[Change]) -> Sequence[Change]:
    """The longest run from the start that can be applied at once: a batch alone, or single changes up to one."""
    if changes[0].kind == "batch":
        return changes[:1]
    for number, change in enumerate(changes):
        if change.kind == "batch":
            return changes[:number]
    return changes
