"""Fields of the JSON objects in a column of text, as typed columns: what the first filter on a field waits for."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from kaizen.records import FieldType
from kaizen.retrieval.columns import ARROW_TYPES, to_arrow


def json_fields(encoded: pa.ChunkedArray, wanted: Mapping[str, FieldType]) -> dict[str, pa.ChunkedArray]:
    """The values of each wanted field in `encoded` (JSON objects, one a row), as ARROW_TYPES has its type; else null.

    An object that several rows share is read once. A value of another type counts as none: another tenant's field.
    """
    parts = [_of_part(part, wanted) for part in encoded.chunks]
    return {name: pa.chunked_array([part[name] for part in parts], ARROW_TYPES[kind]) for name, kind in wanted.items()}


def may_hold(encoded: pa.ChunkedArray, name: str) -> bool:
    """Whether any of the objects has a field of this name, as far as a look at their text tells; never a wrong no."""
    return bool(pc.any(pc.match_substring(encoded, f"{json.dumps(name, ensure_ascii=False)}:")).as_py())


def _of_part(encoded: pa.StringArray, wanted: Mapping[str, FieldType]) -> dict[str, pa.Array]:
    distinct = encoded.dictionary_encode()
    return {name: values.take(distinct.indices) for name, values in _read(distinct.dictionary, wanted).items()}


def _read(objects: pa.StringArray, wanted: Mapping[str, FieldType]) -> dict[str, pa.Array]:
    try:
        return _of_one_type_each(objects, wanted)
    except pa.ArrowInvalid:  # some have another type
        if len(wanted) > 1:
            return {name: _read(objects, {name: kind})[name] for name, kind in wanted.items()}
        read = [json.loads(text) for text in objects.to_pylist()]
        return {name: to_arrow([one.get(name) for one in read], kind) for name, kind in wanted.items()}


def _of_one_type_each(objects: pa.StringArray, wanted: Mapping[str, FieldType]) -> dict[str, pa.Array]:
    """Arrow's own reader takes a seventh of Python's time, and no lock from searches."""
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in wanted.items()])
    lines = pc.binary_join_element_wise(objects, "", "\n")
    if not len(lines):
        return {field.name: pa.array([], field.type) for field in schema}
    text = lines.buffers()[2]
    table = arrow_json.read_json(
        pa.BufferReader(text),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=text.size + 1),
        parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    return {name: table.column(name).combine_chunks() for name in wanted}
