"""Files of many documents: JSON Lines, CSV, Parquet."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import ItemsView
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaizen.config import Ingest
from kaizen.records import Document, Quarantined
from kaizen.text.access_list import unread_access_list
from kaizen.text.parse import Unread, read_documents
from kaizen.text.sandbox import Sandbox
from kaizen.text.sources import expand
from tests.unit.text.conftest import Read


def make_parquet(table: dict[str, list[object] | pa.Array], **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(table), file, **options)
    return file.getvalue()


def _documents(items: list[Document | Quarantined]) -> list[Document]:
    assert [item for item in items if isinstance(item, Quarantined)] == []
    return [item for item in items if isinstance(item, Document)]


def _reasons(items: list[Document | Quarantined]) -> list[str]:
    return [item.reason.split(". ")[0] for item in items if isinstance(item, Quarantined)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"_id": "a", "id": "b", "text": "t"}, ("a", "", "t", {})),
        ({"id": 7, "title": "T", "content": "c", "text": " "}, ("7", "T", "c", {})),
        (
            {"document_id": "x", "body": "b", "url": "u", "n": 1.5, "ok": True, "no": None},
            ("x", "", "b", {"url": "u", "n": 1.5, "ok": True}),
        ),
        ({"text": "t", "metadata": {"tags": ["a"]}, "other": 1}, ("docs/a.jsonl#1", "", "t", {"tags": ("a",)})),
        ({"id": "a", "title": "Only a title", "text": ""}, ("a", "Only a title", "Only a title", {})),
        ({"id": "a", "text": "t", "deep": {"x": 1}, "list": [1], "long": "x" * 2000}, ("a", "", "t", {})),
    ],
)
def test_a_row(read: Read, row: dict[str, object], expected: tuple[object, ...]) -> None:
    (document,) = _documents(read("a.jsonl", json.dumps(row)))
    assert (document.id, document.title, document.text, document.metadata) == expected


@pytest.mark.parametrize(
    ("access", "groups"),
    [
        ({}, ("staff",)),
        ({"groups": []}, ("staff",)),
        ({"groups": ["b", "a", "b"]}, ("a", "b")),
        ({"access": "hr"}, ("hr",)),
        ({" Groups ": ["hr"]}, ("hr",)),
        ({"ACCESS": ["hr"], "groups": []}, ("hr",)),
        ({"groups": ["hr"], "acl": "x", "metadata": {"access": "open"}}, ("hr",)),
        ({"groups": [], "acl": "x", "metadata": {"group": ["Components"]}}, ("staff",)),
        ({"acl": None, "group": "Components", "metadata": {"groups": []}}, ("staff",)),
    ],
)
def test_an_access_list_replaces_the_one_of_the_source(
    read: Read, access: dict[str, object], groups: tuple[str, ...]
) -> None:
    (document,) = _documents(read("a.jsonl", json.dumps({"text": "t", **access})))
    assert document.groups == groups
    assert document.metadata.keys() <= {"access", "acl", "group"} or not document.metadata["groups"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"acl": ["hr"]}, "field 'acl'"),
        ({"ACL": {"read": ["hr"]}}, "field 'ACL'"),
        ({"accessGroups": "hr"}, "field 'accessGroups'"),
        ({"allowed_groups": "hr", "groups": None}, "field 'allowed_groups'"),
        ({"groups?": "hr"}, "field 'groups?'"),
        ({"_groups": "hr"}, "field '_groups'"),
        ({"acl_": "hr"}, "field 'acl_'"),
        ({"ACLs": ["hr"]}, "field 'ACLs'"),
        ({"access__groups": "hr"}, "field 'access__groups'"),
        ({"access.groups": "hr"}, "field 'access.groups'"),
        ({"groups.0": "hr"}, "field 'groups.0'"),
        ({"groups[0]": "hr"}, "field 'groups[0]'"),
        ({"gro\u00adups": "hr"}, "field 'groups'"),
        ({"\uff27roups": "hr"}, "field 'Groups'"),
        ({"group": ["hr"]}, "field 'group'"),
        ({"metadata": {"groups": ["hr"]}}, "metadata field 'groups'"),
        ({"metadata": {" Access": "hr"}}, "metadata field 'Access'"),
        ({"metadata": '{"groups": "hr"}'}, "metadata field 'groups'"),
        ({"metadata": [{"groups": ["hr"]}]}, "field 'groups'"),
        ({"metadata": {"security": {"acl": ["hr"]}}}, "metadata field 'acl'"),
        ({"security": {"groups": ["hr"]}}, "field 'groups'"),
        ({"rights": [1, [{"deep": {"allowedGroups": "hr"}}]]}, "field 'allowedGroups'"),
    ],
)
def test_a_field_that_is_nearly_an_access_list_never_means_everybody(
    read: Read, fields: dict[str, object], said: str
) -> None:
    (item,) = read("a.jsonl", json.dumps({"text": "t", **fields}))
    assert isinstance(item, Quarantined)
    assert item.reason.startswith(f"line 1: Its {said} is not read as an access list. Write it as `groups`: [")


@pytest.mark.parametrize(
    "fields",
    [
        {"menu": {"group": ["Tea"]}, "group": "Tea"},
        {"security": {"groups": [], "acl": " "}},
        {"access_2023": 7, "accessibility": "good", "grouped": ["Tea"], "group_id": ["t"]},
    ],
)
def test_what_only_sounds_like_an_access_list_is_none(read: Read, fields: dict[str, object]) -> None:
    (document,) = _documents(read("a.jsonl", json.dumps({"text": "t", **fields})))
    assert document.groups == ("staff",)


def test_however_deep_and_wide_a_row_is_it_is_looked_at_once() -> None:
    class Counted(dict[str, object]):
        looked_at = 0

        def items(self) -> ItemsView[str, object]:
            Counted.looked_at += 1
            return super().items()

    row = Counted(text="t")
    for _ in range(20_000):
        row = Counted(deep=row, wide=[0, [0]])
    assert unread_access_list(row) == ""
    assert Counted.looked_at <= 20_001 + 1


def test_an_access_list_of_a_table_is_read_whatever_its_case(read: Read) -> None:
    for items in (
        read("a.csv", 'text, Groups ,n\nt,"hr, legal",1\nu,,2\n'),
        read("a.parquet", make_parquet({"text": ["t", "u"], "Groups": [["hr", "legal"], None], "n": [1, 2]})),
    ):
        one, two = _documents(items)
        assert (one.groups, two.groups) == (("hr", "legal"), ("staff",))
        assert (one.metadata, two.metadata) == ({"n": 1}, {"n": 2})


def test_an_empty_column_of_csv_says_that_another_is_no_access_list(read: Read) -> None:
    assert _reasons(read("a.csv", "text,acl\nt,hr\n")) == ["line 2: Its field 'acl' is not read as an access list"]
    (document,) = _documents(read("b.csv", "text,acl,groups,access\nt,hr,,\n"))
    assert (document.groups, document.metadata) == (("staff",), {"acl": "hr"})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "t", "v": NaN}', "It has NaN, which JSON has not"),
        ('{"text": "t", "v": -Infinity}', "It has -Infinity, which JSON has not"),
        ('{"text": "t", "v": 1e400}', "It has a number beyond the range of a 64-bit float"),
        ('{"text": "t", "v": ' + "1" * 5000 + "}", "It has a number that is too long"),
        ('{"text": "t", "v": ' + "1" * 40 + "}", "The metadata field 'v' is not a number of 64 bits"),
        ('{"text": "t"', "It is not JSON: Expecting ',' delimiter at column 13"),
        ("[" * 100_000, "It is JSON nested too deeply"),
        ('["text"]', "It is not a JSON object"),
        ('{"title": " "}', "It has no text"),
        ('{"text": 5}', "Its 'text' is not a string"),
        ('{"id": true, "text": "t"}', "Its 'id' is neither a string nor a whole number"),
        ('{"id": "a/../b", "text": "t"}', "The document id has '..' as a path segment"),
        ('{"id": "a\\u0000", "text": "t"}', "The document id has control characters"),
        ('{"id": "\\ud800", "text": "t"}', "The document id has control characters"),
        ('{"text": "t", "groups": {"a": 1}}', "Its access list is not a list of group names"),
        ('{"text": "t", "groups": ["a"], "access": ["b"]}', "It has two access lists"),
        (
            '{"text": "t", "metadata": {"x": {"y": 1}}}',
            "The metadata field 'x' is neither a string, a number, a boolean nor a list of strings",
        ),
        ('{"text": "t", "metadata": {"": 1}}', "A metadata field has an unusable name"),
        ('{"text": "t\0"}', "It has a NUL at character 11, so it is binary, or UTF-16 without a byte-order mark"),
        (b'{"text": "\xff"}', "It is not UTF-8 text: byte 10 is wrong"),
    ],
)
def test_a_bad_row_is_quarantined_and_the_rest_goes_on(read: Read, line: str | bytes, reason: str) -> None:
    data = (
        b'{"id": "before", "text": "t"}\n'
        + (line if isinstance(line, bytes) else line.encode())
        + b'\n{"id": "after", "text": "t"}'
    )
    before, bad, after = read("a.jsonl", data)
    assert isinstance(before, Document)
    assert isinstance(after, Document)
    assert _reasons([bad]) == [f"line 2: {reason}"]
    assert bad == Unread(
        tenant="acme", source=before.source, document_id="docs/a.jsonl#2", reason=bad.reason, at=bad.at
    )


def test_of_rows_with_one_id_the_first_is_taken(read: Read) -> None:
    first, second = read("a.jsonl", '{"id": "a", "text": "1"}\n{"id": "a", "text": "2"}')
    assert isinstance(first, Document)
    assert first.text == "1"
    assert _reasons([second]) == ["line 2: It has the id of an earlier row"]
    assert not isinstance(second, Unread), "its id is known"


@pytest.mark.parametrize(
    ("name", "data", "unread"),
    [
        ("a.jsonl", "", True),
        ("a.csv", "a,a\n1,2\n", True),
        ("a.parquet", make_parquet({"id": ["a"], "text": ["t"]})[:-20], True),
        ("a.txt", "", False),
        ("a.html", "", False),
    ],
)
def test_which_rows_a_damaged_file_held_nobody_knows(read: Read, name: str, data: bytes | str, unread: bool) -> None:
    (bad,) = read(name, data)
    assert isinstance(bad, Quarantined)
    assert (bad.document_id, isinstance(bad, Unread)) == (f"docs/{name}", unread)


def test_only_what_is_wanted_of_a_unit_is_read(tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "1"}\n{"id": "b"}\n{"id": "c", "text": "3"}\n{"text": "4"}')
    (unit,) = expand([str(path)]).files
    wanted = replace(unit, only=frozenset({"c", f"{unit.name}#4"}))
    documents = _documents(list(read_documents(wanted, Ingest(), "acme", sandbox=sandbox)))
    assert [document.text for document in documents] == ["3", "4"]


def test_a_line_over_the_limit_is_not_held(read: Read) -> None:
    items = read("a.jsonl", '{"text": "' + "x" * 5000 + '"}\n{"id": "b", "text": "t"}', max_document_bytes=1024)
    assert _reasons(items) == ["line 1: It is over 1024 bytes"]
    assert [item.id for item in items if isinstance(item, Document)] == ["b"]


def test_a_file_that_is_no_jsonl_gives_up(read: Read) -> None:
    items = read("a.jsonl", "nope\n" * 5000)
    assert len(items) == 1001
    assert _reasons(items)[-1] == "None of its first 1000 rows is a document; the rest was not read"


@pytest.mark.parametrize("part_bytes", [1, 7, 64, 1000])
def test_parts_of_a_file_are_the_file(tmp_path: Path, part_bytes: int) -> None:
    lines = [json.dumps({"text": f"t{i}"}) if i % 3 else "" for i in range(40)]
    (tmp_path / "a.jsonl").write_text("\r\n".join(lines))
    units = expand([str(tmp_path)], part_bytes=part_bytes).files
    items = [item for unit in units for item in read_documents(unit, Ingest(), "acme")]
    rows = [(document.id.partition("#")[2], document.text) for document in _documents(items)]
    assert rows == [(str(i + 1), f"t{i}") for i in range(40) if i % 3]


def test_csv(read: Read) -> None:
    text = (
        "id;title;text;year;zip;ok;groups\n"
        '1;One;"Text; with\n""quotes""";2001;01234;true;a,b\n'
        "\n"
        "2;Two;t;;99999;False;\n"
        "3;Three;t;-1.5e3;;;\n"
    )
    one, two, three = _documents(read("a.csv", "\ufeff" + text))
    assert (one.id, one.title, one.text, one.groups) == ("1", "One", 'Text; with\n"quotes"', ("a", "b"))
    assert (two.id, two.groups) == ("2", ("staff",))
    assert [dict(d.metadata) for d in (one, two, three)] == [
        {"year": 2001, "zip": "01234", "ok": True},
        {"zip": "99999", "ok": False},
        {"year": -1500.0},
    ]


def test_a_csv_column_has_one_type(read: Read) -> None:
    documents = _documents(read("a.csv", "text,version\n" + "t,1\n" * 500 + "t,n/a\n"))
    assert {type(d.metadata["version"]) for d in documents} == {str}
    assert documents[-1].id == "docs/a.csv#501"


def test_bad_csv_records(read: Read) -> None:
    data = b'id,text\n1,good\n2,\xff\n3\n4,a,b\n5,good\n6,"' + b"never closed\n" * 200 + b"7,good\n"
    items = read("a.csv", data, max_document_bytes=1024)
    assert _reasons(items)[:4] == [
        "line 3: It is not UTF-8 text, or has a NUL",
        "line 4: It has 1 fields, the header 2",
        "line 5: It has 3 fields, the header 2",
        "line 7: It is over 1024 bytes, or a quote in it is never closed",
    ]
    assert [item.id for item in items if isinstance(item, Document)] == ["1", "5", "7"]


def test_a_large_csv_field(read: Read) -> None:
    (document,) = _documents(read("a.csv", f'text\n"{"word " * 100_000}"\n'))
    assert len(document.text) == 499_999


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("name,year\na,1\n", "No column holds the text"),
        ("text,a,a\nx,1,2\n", "Two columns have one name, or one has none"),
        ("\n\n", "Its first line is not a header"),
        ("text\nx".encode("utf-16"), "It is UTF-16 or UTF-32"),
    ],
)
def test_a_csv_without_a_usable_header(read: Read, data: str | bytes, reason: str) -> None:
    assert _reasons(read("a.csv", data)) == [reason]


def test_parquet(read: Read) -> None:
    when = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    one, two = _documents(
        read(
            "a.parquet",
            make_parquet(
                {
                    "id": ["a", None],
                    "text": ["one", "two"],
                    "n": [1.5, float("nan")],
                    "at": [when, None],
                    "groups": [["hr"], []],
                    "raw": [b"x", b"y"],
                }
            ),
        )
    )
    assert (one.id, one.text, one.groups) == ("a", "one", ("hr",))
    assert one.metadata == {"n": 1.5, "at": "2024-05-01T00:00:00+00:00"}
    assert (two.id, two.metadata, two.groups) == ("docs/a.parquet#2", {}, ("staff",))


@pytest.mark.parametrize(
    "column",
    [
        {"groups": [b"hr"]},
        {"groups": [[b"hr"]]},
        {"groups": pa.array([b"hr"], pa.binary(2))},
        {"groups": [datetime.timedelta(1)]},
        {"acl": [b"hr"]},
        {"metadata": [{"groups": b"hr"}]},
        {"metadata": pa.array([[("groups", "hr")]], pa.map_(pa.string(), pa.string()))},
        {"metadata": pa.array([[(b"groups", b"hr")]], pa.map_(pa.binary(), pa.binary()))},
        {"security": [{"rights": {"groups": b"hr"}}]},
    ],
)
def test_an_access_list_of_a_parquet_file_that_is_not_text_never_means_everybody(
    read: Read, column: dict[str, list[object] | pa.Array]
) -> None:
    (item,) = read("a.parquet", make_parquet({"text": ["t"], **column}))
    assert isinstance(item, Quarantined)
    assert "access list" in item.reason and '["' in item.reason


def test_a_map_of_a_parquet_file_is_metadata(read: Read) -> None:
    tags = pa.array([[("tea", "green")], None], pa.map_(pa.string(), pa.string()))
    one, two = _documents(read("a.parquet", make_parquet({"text": ["t", "u"], "metadata": tags})))
    assert (one.metadata, two.metadata) == ({"tea": "green"}, {})


def test_row_groups_are_shared_out(tmp_path: Path, sandbox: Sandbox) -> None:
    texts = [f"text {i} " + "x" * 200 for i in range(100)]
    data = make_parquet({"text": texts}, row_group_size=10, compression="none", use_dictionary=False)
    (tmp_path / "a.parquet").write_bytes(data)
    units = expand([str(tmp_path)], part_bytes=5000).files
    read = [_documents(list(read_documents(unit, Ingest(), "acme", sandbox=sandbox))) for unit in units]
    assert len(units) == len(data) // 5000 + 1
    assert max(map(len, read)) < 50
    rows = [(document.id.partition("#")[2], document.text) for part in read for document in part]
    assert rows == [(str(i + 1), text) for i, text in enumerate(texts)]


def test_a_parquet_row_over_the_limit(read: Read) -> None:
    items = read("a.parquet", make_parquet({"text": ["x" * 2000, "small"]}), max_document_bytes=1024)
    assert _reasons(items) == ["row 1: It is over 1024 bytes"]
    assert [item.text for item in items if isinstance(item, Document)] == ["small"]
