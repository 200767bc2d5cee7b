"""A batch: documents that were taken in bulk, as one immutable directory with their chunks and vectors.

    documents.parquet           the documents, whole: what is re-chunked when a release brings another embedder
    chunks.parquet              chunk_table.SCHEMA and `vector`
    batch.json                  fingerprint of the embedder and chunking that made the chunks

The ledger holds one change for the whole of it. A batch that was written but not recorded before a kill is nobody's.
When later changes have taken the place of documents in it, the others are written again as a batch of their own, to
which the change then leads, and the old one goes: see `thinning`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kaizen.errors import NotFound
from kaizen.ids import new_id
from kaizen.records import Document
from kaizen.retrieval.chunk_table import metadata_json
from kaizen.storage.durable import disk_faults
from kaizen.storage.object_store import ObjectStore

DOCUMENT_SCHEMA = pa.schema(
    [
        ("tenant", pa.string()),
        ("id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("metadata", pa.string()),
        ("groups", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)


def document_table(documents: Sequence[Document]) -> pa.Table:
    """Documents as rows of DOCUMENT_SCHEMA."""
    return pa.Table.from_pylist([document_row(document) for document in documents], schema=DOCUMENT_SCHEMA)


def document_row(document: Document) -> dict[str, Any]:
    """One document as a row of DOCUMENT_SCHEMA."""
    return {
        "tenant": document.tenant,
        "id": document.id,
        "title": document.title,
        "text": document.text,
        "metadata": metadata_json(dict(document.metadata)),
        "groups": list(document.groups),
        "source": document.source,
    }


def document_from_row(row: dict[str, Any]) -> Document:
    """The inverse of `document_row`."""
    metadata = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(row["metadata"]).items()}
    return Document(
        tenant=row["tenant"],
        id=row["id"],
        title=row["title"],
        text=row["text"],
        metadata=metadata,
        groups=tuple(row["groups"] or ()),
        source=row["source"],
    )


def write_batch(store: ObjectStore, documents: pa.Table, chunks: pa.Table, made_by: str) -> str:
    """Write a batch and return its URI (a name in the store). Durable when this returns.

    Args:
        documents: DOCUMENT_SCHEMA.
        chunks: chunk_table.SCHEMA and `vector`.
        made_by: fingerprint of what cut and embedded.
    """
    name = f"batches/{new_id('batch')}"
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        pq.write_table(documents, directory / "documents.parquet", compression="zstd")
        pq.write_table(chunks, directory / "chunks.parquet", compression="zstd", use_dictionary=["title", "metadata"])
        (directory / "batch.json").write_text(json.dumps({"made_by": made_by, "documents": documents.num_rows}))
        store.put_directory(name, directory)
    return name


def read_chunks(store: ObjectStore, name: str, made_by: str) -> pa.Table | None:
    """The batch's chunks with vectors, or None when another embedder or chunking made them."""
    with store.borrow_directory(name) as directory:
        if json.loads((directory / "batch.json").read_text())["made_by"] != made_by:
            return None
        return pq.read_table(directory / "chunks.parquet")


def ids_of(store: ObjectStore, name: str) -> frozenset[str]:
    """The ids of all documents of a batch."""
    with store.borrow_directory(name) as directory:
        return frozenset(pq.read_table(directory / "documents.parquet", columns=["id"]).column("id").to_pylist())


def write_again(store: ObjectStore, name: str, ids: Collection[str]) -> str:
    """Write those of a batch's documents as a batch of their own, with their chunks and vectors; return its URI."""
    with store.borrow_directory(name) as directory:
        documents = pq.read_table(directory / "documents.parquet")
        chunks = pq.read_table(directory / "chunks.parquet")
        made_by: str = json.loads((directory / "batch.json").read_text())["made_by"]
    stay = pa.array(sorted(ids), pa.string())
    documents = documents.filter(pc.is_in(documents["id"], value_set=stay))
    chunks = chunks.filter(pc.is_in(chunks["document_id"], value_set=stay))
    with disk_faults("a batch that is written again"):
        return write_batch(store, documents, chunks, made_by)


def read_documents(store: ObjectStore, name: str) -> list[Document]:
    """All documents of a batch."""
    with store.borrow_directory(name) as directory:
        table = pq.read_table(directory / "documents.parquet")
    return [document_from_row(row) for row in table.to_pylist()]


def read_document(store: ObjectStore, name: str, document_id: str) -> Document:
    """One document of a batch; raises NotFound."""
    with store.borrow_directory(name) as directory:
        table = pq.read_table(directory / "documents.parquet", filters=[("id", "=", document_id)])
    rows = table.to_pylist()
    if not rows:
        raise NotFound(f"The batch {name} has no such document.", advice="Check the id.")
    return document_from_row(rows[-1])
