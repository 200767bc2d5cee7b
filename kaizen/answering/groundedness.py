"""Does the answer stand in its sources, and speak to the question? A deterministic check, sentence by sentence.

It compares words, numbers and names, and knows nothing of meaning: "X beat Y" and "Y beat X" are alike to it. What it
catches is what small generators do most: they invent names, numbers and facts, or answer another question from the
same page. Figures are in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaizen.answering.lexicon import Lexicon, Meaning
from kaizen.answering.marks import Mark
from kaizen.answering.source import Source
from kaizen.text.sentences import sentence_spans

_WINDOW_SENTENCES = 3  # a claim may be spread over neighbours ("Rollo led them. He swore fealty to Charles III.")
_ENOUGH_OF_QUESTION = 2 / 3  # of a question's words in a passage: more than these makes it no better


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence of an answer and what bears it out.

    Attributes:
        start, end: the sentence in the answer, in characters.
        support: how well the best passage bears it out, in [0, 1]; see `claims`.
        source: number of the source (from 1) that holds this passage; 0 when there is none.
        quote: the passage in that source's text, in characters.
    """

    start: int
    end: int
    support: float
    source: int
    quote: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passage:
    source: int
    span: tuple[int, int]
    meaning: Meaning


def claims(
    answer: str, question: str, sources: Sequence[Source], lexicon: Lexicon, marks: Sequence[Mark] = ()
) -> list[Claim]:
    """Return each sentence of `answer` with its support; sentences without words of meaning are left out.

    support = (share of the words that the sentence adds to the question which stand in one passage)
    x min(1, share of the question's words that stand there / (2/3)); 0 when a number or a name of the sentence does
    not stand there, and 0 for a sentence that adds nothing. A passage is three sentences of one source and its title.
    What the generator says it cites (`marks`) is believed only between passages that bear the sentence out alike.
    """
    asked = lexicon.read(question)
    passages = [p for number, source in enumerate(sources, 1) for p in _passages(number, source, lexicon)]
    found = []
    for start, end in sentence_spans(answer):
        said = lexicon.read(answer[start:end])
        if said.stems:
            named = frozenset[int]().union(*(mark.sources for mark in marks if start < mark.at <= end))
            found.append(_claim((start, end), said, asked, passages, named))
    return found


def _claim(
    span: tuple[int, int], said: Meaning, asked: Meaning, passages: Sequence[_Passage], named: frozenset[int]
) -> Claim:
    ranked = ((_support(said, asked, p.meaning), p.source in named, -n, p) for n, p in enumerate(passages))
    support, _, _, best = max(ranked, key=lambda rank: rank[:3], default=(0.0, False, 0, None))
    source, quote = (best.source, best.span) if best else (0, (0, 0))
    return Claim(start=span[0], end=span[1], support=support, source=source, quote=quote)


def _passages(number: int, source: Source, lexicon: Lexicon) -> list[_Passage]:
    spans = sentence_spans(source.text)
    title = lexicon.read(source.title)
    windows = [(spans[i][0], spans[min(i + _WINDOW_SENTENCES, len(spans)) - 1][1]) for i in range(len(spans))]
    return [
        _Passage(source=number, span=(start, end), meaning=lexicon.read(source.text[start:end]) | title)
        for start, end in windows
    ]


def _support(said: Meaning, asked: Meaning, passage: Meaning) -> float:
    added = said.stems - asked.stems
    if not added or not said.numbers <= passage.numbers | passage.shared or not said.names <= passage.stems:
        return 0.0
    stands = len(added & passage.stems) / len(added)
    speaks = len(asked.stems & passage.stems) / len(asked.stems) if asked.stems else 1.0
    return stands * min(1.0, speaks / _ENOUGH_OF_QUESTION)
