"""A data set: what was curated from the ledger, as an immutable directory of the object store.

    examples.parquet         EXAMPLES: one row for each chunk that was shown for a query, or is a hard negative of it
    demonstrations.parquet   DEMONSTRATIONS: answers that people wrote or preferred
    feedback_ids.parquet     FEEDBACK_IDS: the feedback that is in it, for lineage and erasure
    dataset.json             the record: what it was read from, what was left out and why, how it was split

Its id is a fingerprint of all of that, so the same ledger gives the same data set.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kaizen.errors import Corrupt, NotFound
from kaizen.storage.object_store import ObjectStore, holds

FORMAT = 1
EXAMPLES = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("tenant", pa.string()),
        ("groups", pa.list_(pa.string())),  # of the keys that asked: whoever searches for it again needs them
        ("split", pa.string()),  # train or held_out
        ("chunk_id", pa.string()),
        ("document_id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("label", pa.float32()),  # probability that the chunk is relevant, corrected for position and noise
        ("weight", pa.float32()),  # trust in the label, 0 to 1
        ("shown", pa.int32()),
        ("clicks", pa.float32()),  # one for each identity at most, capped
        ("position", pa.float32()),  # mean, from 1
        ("features", pa.list_(pa.float32())),  # retrieval.features.FEATURES; empty where none were logged
        ("judged", pa.bool_()),  # False: a hard negative that nobody was shown
    ]
)
DEMONSTRATIONS = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("tenant", pa.string()),
        ("split", pa.string()),
        ("sources", pa.list_(pa.struct([("title", pa.string()), ("text", pa.string())]))),
        ("chosen", pa.string()),
        ("rejected", pa.string()),  # empty for a correction
        ("kind", pa.string()),  # correction or preference
        ("weight", pa.float32()),
    ]
)
FEEDBACK_IDS = pa.schema([("id", pa.string())])
_TABLES = {"examples": EXAMPLES, "demonstrations": DEMONSTRATIONS, "feedback_ids": FEEDBACK_IDS}
_RECORD = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetContent:
    """A data set in memory: tables of the schemas above, and its record (which names its `id` once it was read)."""

    examples: pa.Table
    demonstrations: pa.Table
    feedback_ids: pa.Table
    record: dict[str, Any]

    @property
    def id(self) -> str:
        """16 hex digits of a hash over the rows and the record."""
        digest = hashlib.sha256(f"format {FORMAT}".encode())
        for name, schema in _TABLES.items():
            digest.update(_bytes(getattr(self, name), schema))
        record = {name: value for name, value in self.record.items() if name != "id"}
        digest.update(json.dumps(record, sort_keys=True).encode())
        return digest.hexdigest()[:16]


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table of the schema of `name`: examples, demonstrations or feedback_ids."""
    return pa.Table.from_pylist(rows, schema=_TABLES[name])


def write_dataset(store: ObjectStore, content: DatasetContent) -> str:
    """Store a data set, durably, and return its name there; one that is there already is left as it is."""
    name = f"datasets/{content.id}"
    if holds(store, name):
        return name
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for file in _TABLES:
            pq.write_table(getattr(content, file), directory / f"{file}.parquet", compression="zstd")
        record = {**content.record, "id": content.id}
        (directory / _RECORD).write_text(json.dumps(record, indent=1, sort_keys=True))
        store.put_directory(name, directory)
    return name


def read_dataset(store: ObjectStore, artifact: str) -> DatasetContent:
    """Read a data set by its name in the store.

    Raises:
        NotFound: there is none. Corrupt: it does not match its sums, or is of another format.
    """
    try:
        directory = store.fetch_directory(artifact)
    except NotFound as error:
        raise NotFound(
            f"The data set {artifact!r} is not in the object store any more.",
            advice="Curate one anew: those that nothing in use was learnt from go after a while.",
        ) from error
    tables = {name: pq.read_table(directory / f"{name}.parquet") for name in _TABLES}
    for name, schema in _TABLES.items():
        if tables[name].schema.names != schema.names:
            raise Corrupt(f"{artifact!r} has other columns than this version reads.", advice="Curate it again.")
    return DatasetContent(**tables, record=json.loads((directory / _RECORD).read_text()))


def _bytes(rows: pa.Table, schema: pa.Schema) -> pa.Buffer:
    """The same bytes for the same rows, however they are cut into batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(rows.cast(schema).combine_chunks())
    return sink.getvalue()
