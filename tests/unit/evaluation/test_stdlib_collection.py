"""The collection made of the running Python's documentation: whole, honest, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaizen.evaluation.bars import Group, bars_svg
from kaizen.evaluation.collection import Collection
from kaizen.evaluation.stdlib_collection import write_stdlib_collection


@pytest.mark.usefixtures("stdlib_read_once")
def test_queries_are_taken_out_of_the_documents_that_answer_them(tmp_path: Path) -> None:
    write_stdlib_collection(tmp_path, documents=400, queries=60)
    rows = map(json.loads, (tmp_path / "corpus.jsonl").read_text().splitlines())
    texts = {row["_id"]: row["text"] for row in rows}
    assert len(texts) == 400
    train, test = (Collection.open(tmp_path, split) for split in ("train", "test"))
    assert (len(train.queries), len(test.queries)) == (30, 30)
    assert not train.queries.keys() & test.queries.keys()
    for collection in (train, test):
        for name, query in collection.queries.items():
            (answer,) = collection.judgements[name]
            assert not " ".join(texts[answer].split()).startswith(query)


@pytest.mark.usefixtures("stdlib_read_once")
def test_it_is_the_same_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_stdlib_collection(tmp_path / name, documents=50, queries=10)
    for file in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_bars_are_escaped_and_to_scale() -> None:
    svg = bars_svg("a < b", [Group(title="<script>", unit="s", bars=[("one", 1.0), ("two", 2.0)], goal=1.5)])
    assert "a &lt; b" in svg
    assert "<script>" not in svg
    one, two = (float(part.split('"')[0]) for part in svg.split('height="')[3:5])
    assert two == pytest.approx(2 * one, abs=0.2)
