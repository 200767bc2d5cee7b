"""What to show of a sentence that is too long to be shown whole: the part around the question's words.

Transcripts, logs and lists may hold a page without the end of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from kaizen.answering.lexicon import Lexicon
from kaizen.text.sentences import Span

_WORD = re.compile(r"\w+")
_BLANK = re.compile(r"\s")
_LAST_BLANK = re.compile(r"\s\S*$")
_Hit = tuple[int, int, frozenset[str]]


def window(text: str, wanted: frozenset[str], lexicon: Lexicon, characters: int) -> Span:
    """Return the span of at most `characters` of `text` around most of the stems `wanted`; its beginning without any.

    Words are left whole where there are blanks between them.
    """
    found = ((m.start(), m.end(), wanted.intersection(lexicon.stems(m.group()))) for m in _WORD.finditer(text))
    start, end = _densest([hit for hit in found if hit[2]], characters)
    stop = min(len(text), max(0, start - (characters - (end - start)) // 2) + characters)
    return _whole_words(text, (max(0, stop - characters), stop), (start, end))


def _densest(hits: Sequence[_Hit], characters: int) -> Span:
    """From the first to the last of the hits that hold most stems within `characters`; the shortest such span."""
    reached = (_reached(hits[first:], characters) for first in range(len(hits)))
    _, start, end = max(reached, key=lambda r: (r[0], r[1] - r[2]), default=(0, 0, 0))
    return start, end


def _reached(hits: Sequence[_Hit], characters: int) -> tuple[int, int, int]:
    start, held = hits[0][0], frozenset[str]()
    last = start
    for _, end, stems in takewhile(lambda hit: hit[1] - start <= characters, hits):
        last = last if stems <= held else end
        held |= stems
    return len(held), start, last


def _whole_words(text: str, cut: Span, kept: Span) -> Span:
    begin, stop = cut
    if begin and not text[begin - 1].isspace() and (blank := _BLANK.search(text, begin, kept[0])):
        begin = blank.end()
    if stop < len(text) and not text[stop].isspace() and (blank := _LAST_BLANK.search(text, kept[1], stop)):
        stop = blank.start()
    shown = text[begin:stop]
    return begin + len(shown) - len(shown.lstrip()), begin + len(shown.rstrip())
