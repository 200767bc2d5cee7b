from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from kaizen.text.stdlib_corpus import MIN_CHARS, stdlib_documents, write_jsonl

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def rows(stdlib_rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({row["id"] for row in stdlib_rows}) == len(stdlib_rows)
    return {row["id"]: row for row in stdlib_rows}


@pytest.mark.usefixtures("stdlib_read_once")
def test_all_of_them_are_written_one_a_line(rows: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    count = write_jsonl(tmp_path / "stdlib.jsonl")
    lines = (tmp_path / "stdlib.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == count
    assert [json.loads(line) for line in lines] == list(rows.values())


def test_a_few_thousand_documents(rows: dict[str, dict[str, Any]]) -> None:
    kinds = Counter(row["metadata"]["kind"] for row in rows.values())
    assert 3000 < len(rows) < 8000
    assert all(kinds[kind] > 100 for kind in ("module", "class", "function", "method"))
    assert min(len(str(row["text"])) for row in rows.values()) >= MIN_CHARS


@pytest.mark.parametrize(
    ("name", "kind", "page"),
    [
        ("json", "module", "json.html#module-json"),
        ("json.loads", "function", "json.html#json.loads"),
        ("str.split", "method", "stdtypes.html#str.split"),
        ("sorted", "function", "functions.html#sorted"),
        ("itertools.groupby", "class", "itertools.html#itertools.groupby"),
        ("os.path.expandvars", "function", "os.path.html#os.path.expandvars"),
        (
            "xml.etree.ElementTree.XMLParser",
            "class",
            "xml.etree.elementtree.html#xml.etree.ElementTree.XMLParser",
        ),
    ],
)
def test_metadata(rows: dict[str, dict[str, Any]], name: str, kind: str, page: str) -> None:
    metadata = rows[f"python/{name}"]["metadata"]
    assert (metadata["kind"], metadata["url"], metadata["python"]) == (
        kind,
        f"https://docs.python.org/{VERSION}/library/{page}",
        VERSION,
    )


def test_signature_and_docstring(rows: dict[str, dict[str, Any]]) -> None:
    assert str(rows["python/json.loads"]["text"]).startswith("json.loads(s, *, cls=None, object_hook=None, ")


def test_the_order_is_the_same_every_time(rows: dict[str, dict[str, Any]]) -> None:
    assert list(islice(stdlib_documents(), 200)) == list(rows.values())[:200]
