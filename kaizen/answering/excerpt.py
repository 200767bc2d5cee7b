"""What of the sources a generator gets to read: all of them when they fit, else the sentences nearest to the question.

A small generator reads 150 tokens a second on one core and answers better from little, so less is faster and better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kaizen.answering.extractive import Sentence, rank_sentences
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.source import Source
from kaizen.answering.window import window
from kaizen.text.sentences import Span

_BYTES_PER_TOKEN = 3  # fewer than common tokenizers need for prose: a budget is kept without asking the model
_GAP = " \u2026 "


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What is shown of source `number` (from 1)."""

    number: int
    title: str
    text: str


def excerpts(question: str, sources: Sequence[Source], lexicon: Lexicon, *, tokens: int) -> list[Excerpt]:
    """Return what fits in about `tokens` tokens, in the sources' order; a source that is left out keeps its number."""
    budget = tokens * _BYTES_PER_TOKEN
    if sum(_size(source.text) for source in sources) <= budget:
        return [Excerpt(number=n, title=s.title, text=s.text) for n, s in enumerate(sources, 1)]
    chosen: dict[int, list[Span]] = {}
    wanted, left, full = frozenset(lexicon.stems(question)), budget, False
    for sentence in rank_sentences(question, sources, lexicon):
        start, end = _fitting(sentence, wanted, lexicon, budget)
        size = _size(sources[sentence.source - 1].text[start:end])
        full = full or size > left
        if size <= left and (not full or sentence.stems & wanted):  # what is left is not filled with anything
            left -= size
            chosen.setdefault(sentence.source, []).append((start, end))
    return [
        Excerpt(number=n, title=sources[n - 1].title, text=_joined(sources[n - 1].text, sorted(spans)))
        for n, spans in sorted(chosen.items())
    ]


def _fitting(sentence: Sentence, wanted: frozenset[str], lexicon: Lexicon, budget: int) -> Span:
    """Where the sentence stands; of one that no budget could hold, its part for half of it: another fits beside it."""
    if _size(sentence.text) <= budget:
        return sentence.span
    characters = budget // 2 * len(sentence.text) // _size(sentence.text)
    start, end = window(sentence.text, wanted, lexicon, characters)
    while (size := _size(sentence.text[start:end])) > budget:  # more bytes a character than in the rest of it
        end = start + (end - start) * budget // size
    return sentence.span[0] + start, sentence.span[0] + end


def _joined(text: str, spans: Sequence[Span]) -> str:
    """The spans of `text`, with a mark where something between them was left out."""
    pieces = [text[spans[0][0] : spans[0][1]]]
    for (_, end), (start, stop) in pairwise(spans):
        pieces.append(_GAP if text[end:start].strip() else " ")
        pieces.append(text[start:stop])
    return "".join(pieces)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
