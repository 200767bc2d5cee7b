"""Where sentences end: a small set of rules that needs no model and works on prose, lists, code and CJK text.

Rules rather than a library: pysbd and nltk cost 20 to 100 times as much per megabyte, the latter downloads data,
and a wrong split costs a chunk little, because chunks are packed from several sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

# A place where a sentence may end: closing marks and a blank, CJK closing marks, an empty line, or a line that starts
# a new item (bullet, number, heading, table row, fence). Every alternative consumes a bounded run.
_CANDIDATE = re.compile(
    r"[.!?\u2026\u061f\u06d4\u0964]{1,8}[\"')\]\u201d\u2019\u00bb]{0,4}(?=\s)"
    r"|[\u3002\uff01\uff1f\uff61]{1,8}[\"')\]\u201d\u2019\u300d\u300f\uff09]{0,4}"
    r"|\n(?=[ ]{0,32}(?:\n|[-*+\u2022\u2023\u25e6\u00b7][ ]|\d{1,3}[.)][ ]|#{1,6}[ ]|\||```|>>> ))"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:[A-Za-z]|(?i:mr|mrs|ms|dr|prof|st|vs|etc|fig|figs|eq|eqs|ref|refs|no|nos|vol|pp|approx|al|"
    r"e\.g|i\.e|cf|ca|inc|ltd|co|corp|dept|jr|sr|sec|ch|ed|eds|resp|u\.s|u\.k|ph\.d|a\.m|p\.m|jan|feb|mar|apr|jun|jul|"
    r"aug|sep|sept|oct|nov|dec|bzw|z\.b|d\.h|usw|nr|str|p\.ex|av|bd|tel|max|min|incl|excl|est))\.$"
)
_STARTS_SENTENCE = re.compile(r"\s+[\"'(\[\u201c\u2018\u00ab\u00bf\u00a1]{0,3}(?![a-z])\S")
_LOOK_BACK = 16


def sentence_spans(text: str) -> list[Span]:
    """Return the spans of the sentences of `text`, in order: without blanks at their ends, none of them empty.

    Together they cover every character that is not blank.
    """
    spans: list[Span] = []
    start = 0
    for end in _ends(text):
        _append_stripped(text, start, end, spans)
        start = end
    _append_stripped(text, start, len(text), spans)
    return spans


def _ends(text: str) -> Iterator[int]:
    for match in _CANDIDATE.finditer(text):
        end = match.end()
        if text[match.start()] in ".?!\u2026" and not _is_end(text, match.start(), end):
            continue
        yield end


def _is_end(text: str, start: int, end: int) -> bool:
    if text.startswith("\n\n", end):
        return True
    if not _STARTS_SENTENCE.match(text, end, end + 64):
        return False
    return text[start] != "." or not _ABBREVIATION.search(text[max(0, start - _LOOK_BACK) : start + 1])


def _append_stripped(text: str, start: int, end: int, spans: list[Span]) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip())
    if left < right:
        spans.append((start + left, start + right))
