"""Text to measure with, on any machine: the documentation of the running Python's standard library, as much as needed.

What is real: every sentence. What is synthetic: beyond the first 1.5 MB pages come again, as editions that differ from
the first by a line and by the order of their entries, so that no two documents, and hardly two chunks, are equal.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaizen.text.stdlib_corpus import stdlib_documents

_SENTENCE = re.compile(r"[A-Z][^.!?\n]{15,120}[.!?]")
QUERY_WORDS = 10


def write_pages(path: Path, text_bytes: int, seed: int = 0) -> int:
    """Write a JSONL file with at least `text_bytes` bytes of text, one page a module; return the bytes of text.

    A page is what the reference of a module prints: its docstrings, one after the other.
    """
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for page in _pages(seed):
            file.write(json.dumps(page, ensure_ascii=False) + "\n")
            written += len(page["text"].encode())
            if written >= text_bytes:
                break
    return written


def queries(count: int, seed: int = 0) -> list[str]:
    """Things that people look for in the corpus: words of the first sentence of a docstring, without its full stop."""
    rows = list(stdlib_documents())
    random.Random(seed).shuffle(rows)  # noqa: S311 (no secret)
    found = dict.fromkeys(query_of(row["text"]) for row in rows)
    return list(itertools.islice((text for text in found if text), count))


def query_of(text: str) -> str:
    """The first words of the text's first sentence, in lower case; "" when it has none."""
    match = _SENTENCE.search(text)
    return " ".join(match.group().rstrip(".!?").split()[:QUERY_WORDS]).lower() if match else ""


def _pages(seed: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(seed)  # noqa: S311 (no secret)
    modules: dict[str, list[str]] = {}
    for row in stdlib_documents():
        modules.setdefault(row["metadata"]["module"], []).append(row["text"])
    for edition in itertools.count(1):
        names = list(modules)
        chance.shuffle(names)
        for name in names:
            entries = list(modules[name])
            if edition > 1:
                chance.shuffle(entries)
                entries.insert(0, f"Edition {edition} of the reference of {name}.")
            yield {"id": f"{name}/{seed}/{edition}", "title": name, "text": "\n\n".join(entries)}
