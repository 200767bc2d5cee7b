"""Does the answer stand in its sources? A deterministic check of words, numbers and names, sentence by sentence.

It knows nothing of meaning: "X beat Y" and "Y beat X" are alike to it. What it catches is what small generators do
most: inventing names, numbers and facts. Figures are in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaizen.answering.lexicon import Lexicon, Meaning
from kaizen.answering.source import Source
from kaizen.text.sentences import sentence_spans

_WINDOW_SENTENCES = 3  # a claim may be spread over neighbours ("Rollo led them. He swore fealty to Charles III.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence of an answer and what bears it out.

    Attributes:
        start, end: the sentence in the answer, in characters.
        support: share of its meaning that stands together in one source, in [0, 1]; 0 when a number or a name
            does not stand there.
        source: number of the source (from 1) that bears it out best.
        quote: span in that source's text, in characters.
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


def claims(answer: str, sources: Sequence[Source], lexicon: Lexicon) -> list[Claim]:
    """Return each sentence of `answer` with its support in `sources`; sentences without meaning are left out."""
    passages = [p for number, source in enumerate(sources, 1) for p in _passages(number, source, lexicon)]
    found = []
    for start, end in sentence_spans(answer):
        meaning = lexicon.read(answer[start:end])
        if meaning.stems:
            support, passage = max(
                ((_support(meaning, p.meaning), p) for p in passages), key=lambda pair: pair[0], default=(0.0, None)
            )
            source, quote = (passage.source, passage.span) if passage else (0, (0, 0))
            found.append(Claim(start=start, end=end, support=support, source=source, quote=quote))
    return found


def overall(found: Sequence[Claim]) -> float:
    """Return the support of a whole answer: that of its worst sentence; 0 for an answer that claims nothing."""
    return min((claim.support for claim in found), default=0.0)


def _passages(number: int, source: Source, lexicon: Lexicon) -> list[_Passage]:
    spans = sentence_spans(source.text)
    title = lexicon.read(source.title)
    windows = [(spans[i][0], spans[min(i + _WINDOW_SENTENCES, len(spans)) - 1][1]) for i in range(len(spans))]
    return [_Passage(source=number, span=w, meaning=_joined(lexicon.read(source.text[w[0] : w[1]]), title))
            for w in windows]  # fmt: skip


def _joined(one: Meaning, other: Meaning) -> Meaning:
    return Meaning(stems=one.stems | other.stems, numbers=one.numbers | other.numbers, names=one.names | other.names)


def _support(claim: Meaning, passage: Meaning) -> float:
    if not claim.numbers <= passage.numbers or not claim.names <= passage.stems:
        return 0.0
    return len(claim.stems & passage.stems) / len(claim.stems)
