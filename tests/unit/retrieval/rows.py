"""Chunk rows with seeded vectors, for tests of segments and shards."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from kaizen.config import IndexSettings
from kaizen.records import Chunk, Document, FieldType, MetadataValue
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.chunk_table import chunk_table
from kaizen.retrieval.columns import Column, to_arrow
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.vectors import Kind

DIM = 16


def document(
    name: str, text: str, *, tenant: str = "acme", groups: tuple[str, ...] = (), **metadata: MetadataValue
) -> Document:
    return Document(tenant=tenant, id=name, title=f"About {name}", text=text, metadata=metadata, groups=groups)


def column_of(values: Sequence[MetadataValue | None], kind: FieldType) -> Column:
    return Column.from_arrow(to_arrow(values, kind))


def vector(text: str) -> np.ndarray:
    """A vector that is the same for the same text in every process."""
    one = np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIM)
    return (one / np.linalg.norm(one)).astype(np.float32)


def rows(*documents: Document) -> tuple[pa.Table, np.ndarray]:
    """One chunk a sentence."""
    chunks = []
    for item in documents:
        spans, start = [], 0
        for sentence in item.text.split(". "):
            spans.append((start, start + len(sentence)))
            start += len(sentence) + 2
        chunks.append(
            [
                Chunk(document_id=item.id, ordinal=i, text=item.text[a:b], start=a, end=b, tokens=1)
                for i, (a, b) in enumerate(spans)
            ]
        )
    table = chunk_table(documents, chunks)
    return table, np.stack([vector(text) for text in table.column("text").to_pylist()])


def segment(*documents: Document, kind: Kind = "flat") -> Segment:
    return Segment.build(*rows(*documents), Analyser(), IndexSettings(kind=kind))
