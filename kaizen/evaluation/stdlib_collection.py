"""A small collection in BEIR's layout, made of the documentation of the Python that runs this.

The first sentence of a docstring says what a thing is for, much as somebody would ask for it. It becomes a query, and
is taken out of the document, which is then the one document that answers it. So retrieval has to find the rest of
the docstring by what it means. Queries are split in halves, `train` and `test`, that share none.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaizen.text.stdlib_corpus import stdlib_documents

MIN_QUERY_WORDS = 5
MIN_REST_CHARACTERS = 200  # what is left of the docstring must be able to answer
_SENTENCE_END = re.compile(r"(?<=[a-z)\"'])\.\s+(?=[A-Z`])|\n\s*\n")


def write_stdlib_collection(directory: Path, *, documents: int = 3000, queries: int = 1000, seed: int = 0) -> None:
    """Write corpus.jsonl, queries.jsonl, qrels/train.tsv and qrels/test.tsv; the same for the same Python and seed.

    Args:
        documents: how many at most; those that a query was taken from are among them.
        queries: of both splits together, at most.
    """
    rows = list(stdlib_documents())
    chance = random.Random(seed)  # noqa: S311 (a sample, not a secret)
    chance.shuffle(rows)
    rows = rows[:documents]
    asked: list[tuple[str, str]] = []
    for row in rows:
        if len(asked) < queries and (parts := _taken_apart(row["text"])) is not None:
            query, row["text"] = parts
            asked.append((row["id"], query))
    _write_lines(directory / "corpus.jsonl", [{"_id": r["id"], "title": "", "text": r["text"]} for r in rows])
    _write_lines(directory / "queries.jsonl", [{"_id": f"q{i}", "text": text} for i, (_, text) in enumerate(asked)])
    for split, first in (("train", 0), ("test", 1)):
        lines = [f"q{i}\t{asked[i][0]}\t1\n" for i in range(first, len(asked), 2)]
        (directory / "qrels").mkdir(exist_ok=True)
        (directory / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def _taken_apart(text: str) -> tuple[str, str] | None:
    """The first sentence of the docstring, and the document without it; None when either would be too short."""
    head, blank, docstring = text.partition("\n\n")
    if not blank or "(" not in head:
        head, docstring = "", text
    end = _SENTENCE_END.search(docstring)
    if end is None:
        return None
    query = " ".join(docstring[: end.start()].split()).rstrip(".")
    rest = docstring[end.end() :].strip()
    if len(query.split()) < MIN_QUERY_WORDS or len(query) > 200 or len(rest) < MIN_REST_CHARACTERS:
        return None
    return query, rest


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
