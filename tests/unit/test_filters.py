import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kaizen.errors import Corrupt, InvalidInput, UnknownField
from kaizen.records import FieldType, MetadataValue, Principal
from kaizen.retrieval import filters
from kaizen.retrieval.columns import Column, Visibility, field_type, to_arrow
from kaizen.text.metadata import typed_metadata
from kaizen.text.normalise import one_line
from tests.unit.retrieval.rows import column_of

COLUMNS = {
    "lang": column_of(["en", "de", None, "fr", "en"], "string"),
    "year": column_of([2019, 2020.5, 2022, None, -1], "number"),
    "draft": column_of([True, False, None, True, False], "boolean"),
    "tags": column_of([("a", "b"), (), None, ("b",), ("c", "c")], "strings"),
}
SCHEMA: dict[str, FieldType] = {"lang": "string", "year": "number", "draft": "boolean", "tags": "strings"}


def matching(text: dict[str, Any]) -> list[int]:
    node = filters.parse(text)
    filters.check(node, SCHEMA | {"later": "string"})
    return np.flatnonzero(filters.mask(node, COLUMNS, 5)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ({"field": "lang", "equals": "en"}, [0, 4]),
        ({"field": "lang", "equals": "zz"}, []),
        ({"field": "lang", "in": ["fr", "de", "zz"]}, [1, 3]),
        ({"field": "lang", "range": {"gte": "de", "lt": "fr"}}, [0, 1, 4]),
        ({"field": "lang", "range": {"gt": "de", "lte": "fr"}}, [0, 3, 4]),
        ({"field": "year", "equals": 2019}, [0]),
        ({"field": "year", "in": [-1, 2022]}, [2, 4]),
        ({"field": "year", "range": {"gte": 2019, "lt": 2022}}, [0, 1]),
        ({"field": "year", "range": {"gt": 2019}}, [1, 2]),
        ({"field": "draft", "equals": True}, [0, 3]),
        ({"field": "draft", "equals": False}, [1, 4]),
        ({"field": "tags", "equals": "b"}, [0, 3]),
        ({"field": "tags", "in": ["a", "c"]}, [0, 4]),
        ({"not": {"field": "lang", "equals": "en"}}, [1, 2, 3]),
        ({"and": [{"field": "lang", "equals": "en"}, {"field": "draft", "equals": False}]}, [4]),
        ({"or": [{"field": "lang", "equals": "de"}, {"field": "tags", "equals": "c"}]}, [1, 4]),
        ({"field": "later", "equals": "x"}, []),
        ({"not": {"field": "later", "equals": "x"}}, [0, 1, 2, 3, 4]),
    ],
)
def test_mask(text: dict[str, Any], rows: list[int]) -> None:
    assert matching(text) == rows


@pytest.mark.parametrize(
    "text",
    [
        None,
        [],
        {},
        "lang = en",
        {"field": "lang"},
        {"equals": "en"},
        {"field": "", "equals": "en"},
        {"field": "lang", "equals": "en", "in": ["en"]},
        {"field": "lang", "equals": None},
        {"field": "lang", "equals": {"x": 1}},
        {"field": "lang", "in": []},
        {"field": "lang", "in": ["x"] * 1001},
        {"field": "lang", "is": "en"},
        {"field": "year", "range": {}},
        {"field": "year", "range": {"from": 1}},
        {"field": "year", "range": {"gte": 1, "lt": "b"}},
        {"field": "year", "range": {"gte": True}},
        {"field": "year", "equals": 2**53 + 1},
        {"field": "year", "equals": float("nan")},
        {"field": "year", "range": {"lt": float("inf")}},
        {"and": []},
        {"or": {"field": "lang", "equals": "en"}},
        {"not": [{"field": "lang", "equals": "en"}]},
        {"or": [{"field": "lang", "equals": "en"}] * 64},
    ],
)
def test_what_is_no_filter_is_refused(text: object) -> None:
    with pytest.raises(InvalidInput, match="filter cannot be read"):
        filters.parse(text)


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"field": "lang", "equals": "en"}
    for _ in range(depth - 1):
        node = {"not": node}
    return node


def test_depth_is_limited_and_a_hostile_depth_is_harmless() -> None:
    assert filters.fields(filters.parse(nested(filters.MAX_DEPTH))) == {"lang"}
    for depth in (filters.MAX_DEPTH + 1, 100_000):
        with pytest.raises(InvalidInput, match="levels deep"):
            filters.parse(nested(depth))


def test_size_is_limited() -> None:
    test = {"field": "lang", "equals": "en"}
    assert filters.parse({"or": [test] * (filters.MAX_NODES - 1)})
    with pytest.raises(InvalidInput, match="64 parts"):
        filters.parse({"or": [test] * filters.MAX_NODES})


def test_values_are_limited_together() -> None:
    test = {"field": "lang", "in": ["en"] * filters.MAX_VALUES}
    assert filters.parse({"or": [test] * 4})
    with pytest.raises(InvalidInput, match="4000 values"):
        filters.parse({"or": [test] * 4 + [{"field": "lang", "in": ["en"]}]})


def test_fields_are_those_of_all_tests() -> None:
    node = filters.parse({"and": [{"not": {"field": "a", "equals": 1}}, {"or": [{"field": "b", "in": [1]}]}]})
    assert filters.fields(node) == {"a", "b"}


def test_an_unknown_field_names_the_nearest_and_all() -> None:
    with pytest.raises(UnknownField) as caught:
        filters.check(filters.parse({"not": {"field": "langg", "equals": "en"}}), SCHEMA)
    assert caught.value.advice == "Did you mean 'lang'? The fields are: draft, lang, tags, year."


def test_of_very_many_fields_some_are_named() -> None:
    many: dict[str, FieldType] = dict.fromkeys((f"field_{number:04}" for number in range(1000)), "string")
    with pytest.raises(UnknownField) as caught:
        filters.check(filters.parse({"field": "languages", "equals": "en"}), many | {"language": "string"})
    assert caught.value.advice.startswith("Did you mean 'language'? The fields are: field_0000, ")
    assert caught.value.advice.endswith("field_0019 and 981 more.")


@pytest.mark.parametrize("length", [8, 32, 64, 128])
def test_names_that_are_all_alike_cost_no_more_than_a_few(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two letters in another order in each: what takes the comparison longest."""
    compared: list[int] = []

    def counted(name: str, others: list[str], n: int) -> list[str]:
        assert n == 1
        compared.append(sum(len(name) * len(other) for other in others))
        return []

    shuffle = np.random.default_rng(1).permutation
    many: dict[str, FieldType] = {"".join(shuffle(list("ab" * (length // 2)))): "string" for _ in range(1000)}
    monkeypatch.setattr(filters.difflib, "get_close_matches", counted)
    with pytest.raises(UnknownField):
        filters.check(filters.parse({"field": "c" * length, "equals": "en"}), many)
    assert 0 < compared[0] <= filters.MOST_COMPARING


@pytest.mark.parametrize(
    "text",
    [
        {"field": "lang", "equals": 1},
        {"field": "year", "equals": "2019"},
        {"field": "year", "equals": True},
        {"field": "draft", "equals": 1},
        {"field": "draft", "range": {"gte": 0}},
        {"field": "tags", "range": {"gte": "a"}},
        {"field": "year", "range": {"gte": "a"}},
        {"field": "tags", "in": ["a", 1]},
    ],
)
def test_a_test_of_the_wrong_type_is_refused(text: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="is of type"):
        filters.check(filters.parse(text), SCHEMA)


def test_a_value_is_found_as_it_was_sent() -> None:
    """Metadata holds strings on one line, in NFC; ids as they are."""
    sent = ["Jose\u0301", "x  y", " a\n"]
    held = {"author": column_of([*typed_metadata({"author": sent})["author"], None], "string")}  # type: ignore[misc]
    ids = {"author": column_of([*sent, None], "string")}
    for number, value in enumerate(sent):
        for test in ({"equals": value}, {"in": [value, "other"]}):
            expected = [row == number for row in range(4)]
            node = filters.respelt(filters.parse({"not": {"and": [{"field": "author", **test}]}}), one_line)
            assert [(~filters.mask(node, columns, 4)).tolist() for columns in (held, ids)] == [expected, expected]


def test_a_filter_survives_json() -> None:
    text = {"and": [{"field": "lang", "in": ["en"]}, {"not": {"field": "year", "range": {"lt": 3}}}]}
    node = filters.parse(text)
    assert json.loads(node.model_dump_json(by_alias=True, exclude_none=True)) == text
    assert filters.parse(json.loads(node.model_dump_json(by_alias=True))) == node


def test_a_value_of_another_type_is_missing() -> None:
    column = column_of(["x", 1, True, ("y",), None], "number")
    assert column.matches((1,)).tolist() == [False, True, False, False, False]


def test_a_column_can_come_in_arrow_chunks() -> None:
    chunks = pa.chunked_array([to_arrow([("a",), ()], "strings"), to_arrow([None, ("b", "a")], "strings")])
    assert Column.from_arrow(chunks).matches(("a",)).tolist() == [True, False, False, True]
    assert Column.from_arrow(chunks.slice(1)).matches(("a",)).tolist() == [False, False, True]
    with pytest.raises(Corrupt):
        Column.from_arrow(pa.array([1], pa.date32()))


@pytest.mark.parametrize("kind", list(SCHEMA.values()))
def test_an_empty_column_matches_nothing(kind: FieldType) -> None:
    value: Any = {"string": "a", "number": 1.0, "boolean": True, "strings": "a"}[kind]
    assert column_of([], kind).matches((value,)).tolist() == []
    assert column_of([None], kind).matches((value,)).tolist() == [False]


@pytest.mark.parametrize(("value", "kind"), [(True, "boolean"), (1, "number"), ("a", "string"), (("a",), "strings")])
def test_field_type(value: MetadataValue, kind: FieldType) -> None:
    assert field_type(value) == kind


@pytest.mark.parametrize(
    ("tenant", "groups", "rows"),
    [
        ("t1", (), [0]),
        ("t1", ("red",), [0, 1, 2]),
        ("t1", ("blue", "grey"), [0, 2]),
        ("t2", ("red",), [3]),
        ("t3", (), []),
    ],
)
def test_visibility_is_tenant_and_groups(tenant: str, groups: tuple[str, ...], rows: list[int]) -> None:
    visibility = Visibility(
        tenant=column_of(["t1", "t1", "t1", "t2", "t2"], "string"),
        groups=column_of([(), ("red",), ("red", "blue"), None, ("green",)], "strings"),
    )
    principal = Principal(key_id="k", tenant=tenant, groups=groups, scopes=("search",))
    assert np.flatnonzero(visibility.mask(principal)).tolist() == rows


def test_without_groups_the_tenant_decides() -> None:
    visibility = Visibility(tenant=column_of(["a", "b"], "string"), groups=column_of([(), ()], "strings"))
    principal = Principal(key_id="k", tenant="b", groups=("x",), scopes=())
    assert visibility.mask(principal).tolist() == [False, True]
