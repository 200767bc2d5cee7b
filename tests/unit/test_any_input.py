"""Any filter and any configuration is either understood, exactly, or refused with an error of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kaizen.config_sources import fields, load_settings, variable_of
from kaizen.errors import ConfigError, InvalidInput, UnknownField
from kaizen.records import FieldType
from kaizen.retrieval import filters
from tests.unit.retrieval.rows import column_of

SCHEMA: dict[str, FieldType] = {"lang": "string", "year": "number", "draft": "boolean", "tags": "strings"}
ROWS: list[dict[str, Any]] = [
    {"lang": "en", "year": 2019, "draft": True, "tags": ("a", "b")},
    {"lang": "de", "year": 2020.5, "draft": False, "tags": ()},
    {"year": -1, "tags": ("b",)},
    {"lang": "", "draft": True},
    {},
]
COLUMNS = {name: column_of([row.get(name) for row in ROWS], kind) for name, kind in SCHEMA.items()}

SCALARS = st.sampled_from(["en", "de", "b", "", 2019, 2020.5, -1, True, False]) | st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)
)
NAMES = st.sampled_from([*SCHEMA, "other"]) | st.text(max_size=3)
TESTS = st.one_of(
    st.builds(lambda name, value: {"field": name, "equals": value}, NAMES, SCALARS),
    st.builds(lambda name, values: {"field": name, "in": values}, NAMES, st.lists(SCALARS, max_size=4)),
    st.builds(
        lambda name, ends: {"field": name, "range": ends},
        NAMES,
        st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), SCALARS, max_size=3),
    ),
)
KEYS = st.sampled_from(["field", "equals", "in", "range", "and", "or", "not", "gt"]) | st.text(max_size=3)
ANYTHING = st.recursive(
    SCALARS | TESTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


def matches(node: dict[str, Any], row: dict[str, Any]) -> bool:
    """What the language means, for one row."""
    if "and" in node:
        return all(matches(part, row) for part in node["and"])
    if "or" in node:
        return any(matches(part, row) for part in node["or"])
    if "not" in node:
        return not matches(node["not"], row)
    value = row.get(node["field"])
    if value is None:
        return False
    if "range" in node:
        ends = {"gt": value.__gt__, "gte": value.__ge__, "lt": value.__lt__, "lte": value.__le__}
        within = (ends[end](limit) for end, limit in node["range"].items() if limit is not None)
        return all(held is True for held in within)
    wanted = [node["equals"]] if "equals" in node else node["in"]
    return any((one in value if isinstance(value, tuple) else one == value) for one in wanted)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=ANYTHING)
def test_a_filter_means_what_it_says_or_is_refused(value: Any) -> None:  # noqa: ANN401
    try:
        node = filters.parse(value)
        filters.check(node, SCHEMA)
    except (InvalidInput, UnknownField) as error:
        assert error.message
        assert error.advice
        return
    numbers = {name: [v for v in node_values(value, name) if isinstance(v, float)] for name in ("year",)}
    rows = [{**row, **({"year": float(row["year"])} if numbers["year"] and "year" in row else {})} for row in ROWS]
    found = filters.mask(node, COLUMNS, len(ROWS))
    assert found.dtype == np.bool_
    assert found.tolist() == [matches(value, row) for row in rows]
    assert filters.parse(json.loads(json.dumps(value))) == node


def node_values(node: Any, name: str) -> list[Any]:  # noqa: ANN401
    """All values that are compared with a field."""
    if isinstance(node, list):
        return [value for part in node for value in node_values(part, name)]
    if not isinstance(node, dict):
        return []
    inner = [value for key in ("and", "or", "not") if key in node for value in node_values(node[key], name)]
    if node.get("field") != name:
        return inner
    ends = node.get("range")
    return [node.get("equals"), *node.get("in", []), *(ends.values() if isinstance(ends, dict) else [])]


TOML_VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["true", "false", "2026-11-23", "07:32:00", "[]", "{}", "[1, 'a']", "''", '"""x"""', "{a = 1}"]),
    st.text(max_size=10).map(json.dumps),
)
SOME_FIELDS = st.sampled_from(sorted(fields()))
SETTINGS_LINES = st.lists(
    st.one_of(
        st.builds(lambda name, value: f"{name} = {value}", SOME_FIELDS, TOML_VALUES),
        st.builds(
            lambda name, value: f"{name} = {value}", st.from_regex(r"\A[a-z]{1,6}(\.[a-z]{1,6})?\Z"), TOML_VALUES
        ),
        st.builds(lambda name: f"[{name}]", st.sampled_from(["server", "index", "nonsense"])),
        st.text(max_size=12),
    ),
    max_size=4,
).map("\n".join)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=SETTINGS_LINES)
@example(text="a = " + "[" * 10_000)
@example(text="server = " + "{a = " * 10_000)
@example(text="a" + ".a" * 10_000 + " = 1")
@example(text="[server]\nport = " + "9" * 5_000)
@example(text="[index]\nseal_seconds = nan")
@example(text="[workspace]\ndirectory = '\\u0000'")
@example(text='[workspace]\ndirectory = "\\u0000"')
@example(text='[workspace]\ndirectory = "~nobody-of-this-name/x"')
def test_a_configuration_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kaizen.toml"
    path.write_text(text, encoding="utf-8")
    _read_or_refused(path, {})


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=40))
def test_a_file_of_any_bytes_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "kaizen.toml"
    path.write_bytes(data)
    _read_or_refused(path, {})


@settings(max_examples=150, deadline=None)
@given(name=SOME_FIELDS, value=st.text(max_size=12) | st.integers().map(str) | st.floats().map(repr))
@example(name="server.port", value="9" * 5_000)
@example(name="workspace.directory", value="\0")
@example(name="workspace.directory", value="~nobody-of-this-name/x")
def test_a_variable_of_any_value_is_read_or_refused(name: str, value: str) -> None:
    _read_or_refused(None, {variable_of(name): value})


def _read_or_refused(path: Path | None, environ: dict[str, str]) -> None:
    try:
        loaded = load_settings(path, environ)
    except (ConfigError, UnknownField) as error:
        assert error.message
        assert error.advice
    else:
        assert loaded.settings == load_settings(path, environ).settings
        assert json.loads(loaded.settings.model_dump_json())


def test_the_meaning_is_not_empty() -> None:
    assert matches({"not": {"field": "lang", "equals": "en"}}, {}) is True
    with pytest.raises(InvalidInput):
        filters.parse({})
