"""One field of many JSON objects: as Python's own reader has it, whatever the values are and whoever else has some."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen.records import FieldType
from kaizen.retrieval.chunk_table import metadata_json
from kaizen.retrieval.columns import ARROW_TYPES, to_arrow
from kaizen.retrieval.json_fields import json_fields

NAMES = st.sampled_from(["a", "b", 'na"me', "größe", "a.b", "\\", " "])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES: dict[FieldType, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "number": st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "strings": st.lists(TEXT, max_size=3).map(tuple),
}


@st.composite
def objects(draw: st.DrawFn) -> tuple[list[str], str, FieldType]:
    """Objects in which a name has values of one type, and now and then of any other, as with another tenant."""
    name, kind = draw(NAMES), draw(st.sampled_from(list(VALUES)))
    own = VALUES[kind] if draw(st.booleans()) else st.one_of(list(VALUES.values()))
    others = st.dictionaries(NAMES, st.one_of(list(VALUES.values())), max_size=3)
    rows = draw(st.lists(st.tuples(others, st.none() | own), max_size=6))
    return [metadata_json(other | ({} if value is None else {name: value})) for other, value in rows], name, kind


@settings(deadline=None)
@given(objects(), st.integers(0, 6))
def test_a_field_is_as_python_reads_it(drawn: tuple[list[str], str, FieldType], cut: int) -> None:
    encoded, name, kind = drawn
    parts = pa.chunked_array([encoded[:cut], encoded[cut:]], pa.string())
    values = [json.loads(text).get(name) for text in encoded]
    expected = to_arrow([tuple(value) if isinstance(value, list) else value for value in values], kind)
    found = json_fields(parts, {name: kind, "other": "string"})
    assert found[name].combine_chunks().to_pylist() == expected.to_pylist()
    assert found["other"].null_count == len(encoded)


def test_a_column_without_chunks_has_no_values() -> None:
    found = json_fields(pa.chunked_array([], pa.string()), {"a": "number"})["a"]
    assert (len(found), found.type) == (0, ARROW_TYPES["number"])
