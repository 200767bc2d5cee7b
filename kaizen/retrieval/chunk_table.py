"""The table of chunks: one Arrow schema from the embedder to the segment on disk.

Rows of one document stand together, in the order of their ordinals. `metadata` is the document's JSON object,
kept as text so that what comes out is what went in; filters read typed columns made from it (`filters.Column`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from kaizen.errors import BadModel
from kaizen.records import Chunk, Document, MetadataValue

SCHEMA = pa.schema(
    [
        ("tenant", pa.string()),
        ("document_id", pa.string()),
        ("ordinal", pa.int32()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("start", pa.int64()),  # offsets in characters into the document's text
        ("end", pa.int64()),
        ("metadata", pa.string()),
        ("groups", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)
VECTOR = "vector"
# The columns that travel with an answer. Tenant and groups do not: who may see a row was decided before.
SHOWN = ("document_id", "ordinal", "title", "text", "start", "end", "metadata", "source")


def metadata_json(metadata: dict[str, MetadataValue]) -> str:
    """The canonical JSON of a document's metadata."""
    return json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False, default=list)


def chunk_table(documents: Sequence[Document], chunks: Sequence[Sequence[Chunk]]) -> pa.Table:
    """Return the rows of `chunks[i]`, the chunks of `documents[i]`, in order, without vectors."""
    rows = [(document, chunk) for document, own in zip(documents, chunks, strict=True) for chunk in own]
    encoded = {id(document): metadata_json(dict(document.metadata)) for document in documents}
    columns = {
        "tenant": [d.tenant for d, _ in rows],
        "document_id": [d.id for d, _ in rows],
        "ordinal": [c.ordinal for _, c in rows],
        "title": [d.title for d, _ in rows],
        "text": [c.text for _, c in rows],
        "start": [c.start for _, c in rows],
        "end": [c.end for _, c in rows],
        "metadata": [encoded[id(d)] for d, _ in rows],
        "groups": [list(d.groups) for d, _ in rows],
        "source": [d.source for d, _ in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def with_vectors(table: pa.Table, vectors: np.ndarray) -> pa.Table:
    """Return `table` with the column `vector`; `vectors` is (rows, dim) float32."""
    if len(vectors) != table.num_rows:
        raise BadModel(f"{len(vectors)} vectors came for {table.num_rows} chunks.", advice="Check the embedder.")
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return table.append_column(VECTOR, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))


def split_vectors(table: pa.Table, dim: int) -> tuple[pa.Table, np.ndarray]:
    """Take the column `vector` off: (table, vectors (rows, dim) float32)."""
    column = table.column(VECTOR).combine_chunks()
    if column.type.list_size != dim:
        raise BadModel(
            f"Vectors have {column.type.list_size} dimensions and the index has {dim}.",
            advice="An index holds the vectors of one embedder; build another index for another embedder.",
        )
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, dim)
    return table.drop_columns([VECTOR]), np.asarray(vectors, dtype=np.float32)


def keep_last_versions(table: pa.Table) -> pa.Table:
    """Return `table` with only the last run of rows of each document, for batches that name a document twice."""
    documents = table.column("document_id").to_pylist()
    ordinals = table.column("ordinal").to_pylist()
    last_start = {
        document: row for row, (document, ordinal) in enumerate(zip(documents, ordinals, strict=True)) if ordinal == 0
    }
    if sum(1 for ordinal in ordinals if ordinal == 0) == len(last_start):
        return table
    return table.filter(pa.array([row >= last_start[document] for row, document in enumerate(documents)]))
