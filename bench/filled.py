"""A running installation filled with synthetic chunks: the way of all batches, without the cost of embedding."""

from __future__ import annotations

from bench.search_index import Corpus, wait_until_settled
from bench.synthetic import World
from cluster.throwaway import Installation
from kaizen.config_sources import load_settings
from kaizen.indexing.batch import document_table, write_batch
from kaizen.records import Document
from kaizen.retrieval.chunk_table import with_vectors
from kaizen.storage.ledger.documents import BatchEntry
from kaizen.workspace import open_workspace


def fill(running: Installation, chunks: int) -> None:
    """Add `chunks` documents of one chunk each, and wait until the shards have sealed them."""
    settings = load_settings(running.config).settings
    workspace, spec = open_workspace(settings), Corpus(running).spec
    tenant = settings.workspace.tenant
    for table, vectors, _ in World(chunks).batches(settings.ingest.batch_chunks, 0):
        rows = table.select(["document_id", "title", "text"]).to_pylist()
        documents = [Document(tenant=tenant, id=r["document_id"], title=r["title"], text=r["text"]) for r in rows]
        own = table.set_column(0, "tenant", [[tenant] * len(documents)])
        uri = write_batch(workspace.store, document_table(documents), with_vectors(own, vectors), spec.made_by)
        entries = [BatchEntry(document.id, document.content_sha256(), document.source) for document in documents]
        workspace.ledger.documents.append_batch(tenant, uri, entries, {})
    wait_until_settled(running, workspace.ledger.documents.head())
