"""Marks like [1] or [2, 3] in a generator's text: which sources it says a sentence rests on."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where marks stood, in characters of the text without them, and the sources (from 1) that they named."""

    at: int
    sources: frozenset[int]


def parse_marks(text: str, sources: int) -> tuple[str, list[Mark]]:
    """Take the marks out of `text`: return the rest, and the marks. Those of no source in 1..`sources` are dropped."""
    plain: list[str] = []
    marks: list[Mark] = []
    length, end = 0, 0
    for match in _MARK.finditer(text):
        plain.append(text[end : match.start()])
        length += match.start() - end
        end = match.end()
        named = frozenset(n for n in map(int, _NUMBER.findall(match.group(1))) if 1 <= n <= sources)
        if named:
            marks.append(Mark(length, named))
    return "".join([*plain, text[end:]]), marks
