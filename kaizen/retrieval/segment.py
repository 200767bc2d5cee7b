"""A segment: the immutable part of a shard. Chunk table, FAISS index and lexical index share their row numbers.

So a filter, an access list and a tombstone are all one thing: a boolean mask over rows. A segment in the head of a
shard lives in memory; a sealed one is a directory in the object store, and opens by mapping its files.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kaizen.config import IndexSettings
from kaizen.errors import Corrupt
from kaizen.ids import new_id
from kaizen.records import FieldType, Principal
from kaizen.retrieval.analyser import VERSION, Analyser
from kaizen.retrieval.chunk_table import SCHEMA, SHOWN
from kaizen.retrieval.columns import Column, Mask, Visibility
from kaizen.retrieval.filters import Filter, mask
from kaizen.retrieval.json_fields import json_fields, may_hold
from kaizen.retrieval.lexical import LexicalIndex
from kaizen.retrieval.vectors import Device, Kind, VectorIndex, choose_kind

FORMAT = 1
TWINS_FORMAT = 2  # rows lie in two lists: who knows only the first would find them twice, and refuses this
BUILT_IN_FIELDS: Mapping[str, FieldType] = {"document_id": "string", "source": "string", "title": "string"}


def document_key(tenant: str, document_id: str) -> int:
    """64 bits that stand for a document inside a shard (two of 10^6 documents meet with probability 3e-8)."""
    digest = hashlib.blake2b(f"{tenant}\0{document_id}".encode(), digest_size=8, person=b"kaizen-doc").digest()
    return int.from_bytes(digest, "big")


class Segment:
    """Rows of chunks with their vectors and words.

    Attributes:
        table: chunk table (rows), see chunk_table.SCHEMA.
        vectors, lexical: indices over the same rows.
        keys: (rows,) uint64, `document_key` of each row's document.
    """

    def __init__(
        self, name: str, table: pa.Table, vectors: VectorIndex, lexical: LexicalIndex, keys: np.ndarray
    ) -> None:
        self.name = name
        self.table, self._shown = table, _columns(table)
        self.vectors = vectors
        self.lexical = lexical
        self.keys = keys
        self._order = np.argsort(keys, kind="stable")
        self._sorted_keys = keys[self._order]
        self._visibility = Visibility(
            tenant=Column.from_arrow(table.column("tenant")), groups=Column.from_arrow(table.column("groups"))
        )
        self.ordinals = table.column("ordinal").to_numpy().astype(np.int32)  # (rows,)
        self._columns: dict[tuple[str, FieldType], Column] = {}
        self._lock = threading.Lock()

    @property
    def rows(self) -> int:
        return int(self.table.num_rows)

    @property
    def kind(self) -> Kind:
        return self.vectors.kind

    @classmethod
    def build(
        cls, table: pa.Table, vectors: np.ndarray, analyser: Analyser, settings: IndexSettings | None = None
    ) -> Segment:
        """Index `table` (SCHEMA, no vectors) under `vectors` (rows, dim) float32. Raises BadModel for bad vectors."""
        settings = settings or IndexSettings(kind="flat")
        titles, texts = table.column("title").to_pylist(), table.column("text").to_pylist()
        terms = [analyser.chunk(title, text) for title, text in zip(titles, texts, strict=True)]
        chosen = choose_kind(settings.kind, table.num_rows, settings.flat_max_rows)
        index = VectorIndex.build(vectors, chosen, settings.device)
        return cls(new_id("seg"), table, index, LexicalIndex.build(terms), _keys(table))

    @classmethod
    def merge(cls, parts: Sequence[tuple[Segment, np.ndarray]], settings: IndexSettings) -> Segment:
        """One segment of the kept rows of `parts` (segment, boolean mask), in order; nothing is analysed again."""
        table = pa.concat_tables([s.table.filter(pa.array(keep)) for s, keep in parts]).combine_chunks()
        vectors = np.concatenate([np.asarray(s.vectors.vectors[keep]) for s, keep in parts])
        lexical = LexicalIndex.merge([s.lexical for s, _ in parts], [keep for _, keep in parts])
        keys = np.concatenate([s.keys[keep] for s, keep in parts])
        chosen = choose_kind(settings.kind, table.num_rows, settings.flat_max_rows)
        merged = cls(new_id("seg"), table, VectorIndex.build(vectors, chosen, settings.device), lexical, keys)
        merged.make_ready({field for segment, _ in parts for field in segment.fields()})
        return merged

    def rows_of(self, keys: np.ndarray) -> np.ndarray:
        """Rows (int64, in order) of the documents with these `document_key`s (uint64); empty when none is here."""
        low = np.searchsorted(self._sorted_keys, keys, side="left")
        high = np.searchsorted(self._sorted_keys, keys, side="right")
        spans = [self._order[a:b] for a, b in zip(low, high, strict=True) if a < b]
        return np.sort(np.concatenate(spans)) if spans else np.empty(0, np.int64)

    def visible(self, principal: Principal) -> Mask:
        """(rows,) bool: what the caller may see of the segment. Dead rows are the view's matter."""
        return self._visibility.mask(principal)

    def matching(self, condition: Filter, types: Mapping[str, FieldType]) -> Mask:
        """(rows,) bool: rows that a user's filter admits; `types` are those of the fields it tests."""
        self.make_ready(types.items())
        return mask(condition, {name: self._columns[name, kind] for name, kind in types.items()}, self.rows)

    def fields(self) -> frozenset[tuple[str, FieldType]]:
        """The fields that filters have tested here."""
        return frozenset(self._columns.copy())  # a copy is made in one step, whoever adds one meanwhile

    def make_ready(self, fields: Iterable[tuple[str, FieldType]]) -> None:
        """Make the columns of these fields, all in one reading. Who tests known ones waits for nobody."""
        wanted = set(fields)
        if not wanted <= self.fields():
            with self._lock:
                self._make(wanted - self.fields())

    def show(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The rows as dicts of chunk_table.SHOWN. Cell by cell: to take a dozen rows out of a table makes a table."""
        return [{name: column[row].as_py() for name, column in self._shown} for row in rows]

    def save(self, directory: Path) -> None:
        """Write the segment's files into an existing empty directory. The object store adds sums and durability."""
        with pa.OSFile(str(directory / "chunks.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_table(self.table.combine_chunks())
        np.save(directory / "keys.npy", self.keys, allow_pickle=False)
        self.vectors.save(directory)
        self.lexical.save(directory)
        made = TWINS_FORMAT if self.vectors.has_twins else FORMAT
        record = {"format": made, "name": self.name, "kind": self.kind, "rows": self.rows, "dim": self.vectors.dim}
        (directory / "segment.json").write_text(json.dumps({**record, "words": VERSION}, sort_keys=True))

    @classmethod
    def load(cls, directory: Path, device: Device = "cpu") -> Segment:
        """Open a verified directory that `save` wrote; the table and the vectors are mapped, not read."""
        record = json.loads((directory / "segment.json").read_text())
        if record["format"] not in (FORMAT, TWINS_FORMAT):
            raise Corrupt(f"Segment format {record['format']} is not known here.", advice="Rebuild the index.")
        if record.get("words", 1) != VERSION:  # what a query asks for would not be what was written down
            raise Corrupt("The words of this segment were read by another version.", advice="Rebuild the index.")
        table = _mapped_table(directory)
        vectors = VectorIndex.load(directory, record["kind"], device)
        keys = np.load(directory / "keys.npy", allow_pickle=False)
        if not table.num_rows == vectors.rows == len(keys) == record["rows"]:
            raise Corrupt("The parts of a segment differ in their number of rows.", advice="Rebuild the index.")
        return cls(record["name"], table, vectors, LexicalIndex.load(directory), keys)

    def rest_on(self, directory: Path) -> None:
        """Read from the files of a verified directory, which `save` wrote, from now on, and let the memory go.

        Searches may run meanwhile: what they read is the same here and there.
        """
        self.table = _mapped_table(directory)
        self._shown = _columns(self.table)
        self.lexical = LexicalIndex.load(directory)
        self.vectors.rest_on(directory)
        pa.default_memory_pool().release_unused()

    def _make(self, fields: Set[tuple[str, FieldType]]) -> None:
        encoded = self.table.column("metadata")
        while fields:
            once = dict(fields)  # tenants may give a name several types: one of them at a time
            read = {name: kind for name, kind in once.items() if name not in BUILT_IN_FIELDS or may_hold(encoded, name)}
            found = json_fields(encoded, read)
            for name, kind in once.items():
                self._columns[name, kind] = Column.from_arrow(self._values(name, found.get(name)))
            fields = fields - once.items()

    def _values(self, name: str, own: pa.ChunkedArray | None) -> pa.ChunkedArray:
        """A field of metadata; where a document has none of this name, what every document has."""
        if own is None:
            return self.table.column(name)
        return pc.coalesce(own, self.table.column(name)) if name in BUILT_IN_FIELDS else own


def _mapped_table(directory: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(directory / "chunks.arrow"))).read_all()


def _columns(table: pa.Table) -> list[tuple[str, pa.Array | pa.ChunkedArray]]:
    """Of SHOWN; what is in one piece without what finds the piece, which costs as much as the cell."""
    columns = ((name, table.column(name)) for name in SHOWN)
    return [(name, column.chunk(0) if column.num_chunks == 1 else column) for name, column in columns]


def _keys(table: pa.Table) -> np.ndarray:
    tenants, documents = table.column("tenant").to_pylist(), table.column("document_id").to_pylist()
    cache: dict[tuple[str, str], int] = {}
    result = np.empty(table.num_rows, np.uint64)
    for row, pair in enumerate(zip(tenants, documents, strict=True)):
        if pair not in cache:
            cache[pair] = document_key(*pair)
        result[row] = cache[pair]
    return result
