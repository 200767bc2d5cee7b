"""Documents to chunk rows with vectors: the one place where text is cut and embedded for an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from kaizen.ids import fingerprint
from kaizen.records import Document
from kaizen.retrieval.chunk_table import chunk_table, with_vectors
from kaizen.text.chunk import Chunker


class ChecksVectors(Protocol):
    """An embedder that says which texts it could not embed."""

    def embed_checked(self, texts: Sequence[str]) -> tuple[np.ndarray, tuple[int, ...]]:
        """Vectors (n, dim) float32 and the numbers of the rows that are NaN, infinite or zero."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """`table`: chunk rows with `vector`. `refused`: (tenant, id) of documents one of whose chunks got no usable one."""

    table: pa.Table
    refused: frozenset[tuple[str, str]]


def made_by(embedder_fingerprint: str, chunking: dict[str, int]) -> str:
    """Fingerprint of what makes chunk rows; rows of another one cannot be used in the same index."""
    return fingerprint({"embedder": embedder_fingerprint, "chunking": chunking})


def prepare(documents: Sequence[Document], chunker: Chunker, embedder: ChecksVectors) -> Prepared:
    """Cut and embed. A document with a chunk that cannot be embedded is refused whole: half of it would mislead."""
    chunks = [chunker.chunks(document) for document in documents]
    table = chunk_table(documents, chunks)
    texts = [text for d, own in zip(documents, chunks, strict=True) for text in chunker.embedded_texts(d, own)]
    vectors, bad = embedder.embed_checked(texts)
    keys = list(zip(table.column("tenant").to_pylist(), table.column("document_id").to_pylist(), strict=True))
    refused = frozenset(keys[row] for row in bad)
    rows = with_vectors(table, np.nan_to_num(vectors))
    if refused:
        rows = rows.filter(pa.array([key not in refused for key in keys]))
    return Prepared(rows, refused)
