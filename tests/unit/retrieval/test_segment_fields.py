"""What a filter tests of a segment's rows: metadata, and what every document has."""

from __future__ import annotations

import pytest

from kaizen.retrieval.filters import parse
from kaizen.retrieval.segment import Segment
from tests.unit.retrieval.rows import document, segment


@pytest.fixture(scope="module")
def made() -> Segment:
    """Tables of other systems have columns of these names."""
    return segment(
        document("a", "pump", source="wiki", title="Manual"),
        document("b", "pump", source=7),
        document("c", "pump", said='"source": x', document_id="a"),
    )


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("source", "wiki", [True, False, False]),
        ("source", "", [False, True, True]),
        ("title", "Manual", [True, False, False]),
        ("title", "About a", [False, False, False]),
        ("title", "About b", [False, True, False]),
        ("document_id", "a", [True, False, True]),
        ("said", '"source": x', [False, False, True]),
    ],
)
def test_a_documents_own_field_comes_before_the_built_in_one(
    made: Segment, field: str, value: str, expected: list[bool]
) -> None:
    assert made.matching(parse({"field": field, "equals": value}), {field: "string"}).tolist() == expected
