"""Marks like [1] or [2, 3] in a generator's text: which sources it says a sentence rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_NUMBER = re.compile(r"\d+")
_OWNER = re.compile(r"\w+\)*(?:\[\d{1,3}\])*$")  # what an index may belong to: argv, f(x), rows[1]
_LONGEST_OWNER = 64
_ALONE = re.compile(r"(?<![\w)\]])(?:\[\d{1,3}\])+")
_ROUND = str.maketrans("[]", "()")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where marks stood, in characters of the text without them, and the sources (from 1) that they named."""

    at: int
    sources: frozenset[int]


def parse_marks(text: str, sources: Sequence[str]) -> tuple[str, list[Mark]]:
    """Take the marks out of `text`: return the rest, and the marks. Those of no source are dropped.

    `sources` are the texts of the sources. What one of them says itself is no mark: `sys.argv[1]`.
    """
    plain: list[str] = []
    marks: list[Mark] = []
    length, end = 0, 0
    for match in _MARK.finditer(text):
        if _is_said(text, match, sources):
            continue
        plain.append(text[end : match.start()])
        length += match.start() - end
        end = match.end()
        named = frozenset(n for n in map(int, _NUMBER.findall(match.group(1))) if 1 <= n <= len(sources))
        if named:
            marks.append(Mark(length, named))
    return "".join([*plain, text[end:]]), marks


def without_own_marks(text: str) -> str:
    """Return the text of a document with its own reference numbers, which would be taken for marks, as (2).

    An index as in `sys.argv[1]` stays: no mark stands right behind a word.
    """
    return _ALONE.sub(lambda match: match.group().translate(_ROUND), text)


def _is_said(text: str, mark: re.Match[str], sources: Sequence[str]) -> bool:
    """Whether a source holds the bracket together with the word that it hangs on."""
    start = mark.start()
    owner = _OWNER.search(text, max(0, start - _LONGEST_OWNER), start)
    if owner is None or text[start] != "[":
        return False
    return any(text[owner.start() : mark.end()] in source for source in sources)
