"""An answer in the documents' own words: the sentences that speak most to the question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kaizen.answering.groundedness import Claim
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.source import Source
from kaizen.text.sentences import sentence_spans

_MOST_SENTENCES = 3
_MOST_CHARACTERS = 400
_WORTH_ADDING = 0.6  # of the best sentence's score
_TITLE_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence of a source and how much it speaks to the question. `source` counts from 1."""

    source: int
    span: tuple[int, int]
    text: str
    stems: frozenset[str]
    score: float


def rank_sentences(question: str, sources: Sequence[Source], lexicon: Lexicon) -> list[Sentence]:
    """Return the sentences of `sources`, best first.

    A sentence scores the rarity (idf over these sentences) of the question's stems that it holds, those that only
    its title holds at half, as a share of what the question asks, plus a little for its source's rank.
    """
    wanted = frozenset(lexicon.stems(question))
    found = [(n, span, s.text[span[0] : span[1]], frozenset(lexicon.stems(s.text[span[0] : span[1]])), s)
             for n, s in enumerate(sources, 1) for span in sentence_spans(s.text)]  # fmt: skip
    spread = Counter(stem for _, _, _, stems, _ in found for stem in stems & wanted)
    weight = {stem: math.log(1 + len(found) / (0.5 + spread[stem])) for stem in wanted}
    total = sum(weight.values()) or 1.0
    titles = {n: frozenset(lexicon.stems(s.title)) for n, s in enumerate(sources, 1)}

    def score(number: int, stems: frozenset[str]) -> float:
        own = sum(weight[stem] for stem in stems & wanted)
        title = sum(weight[stem] for stem in (titles[number] & wanted) - stems)
        return (own + _TITLE_SHARE * title) / total + 0.1 / number

    ranked = [Sentence(source=n, span=span, text=text, stems=stems, score=score(n, stems))
              for n, span, text, stems, _ in found]  # fmt: skip
    return sorted(ranked, key=lambda s: -s.score)


def extract(question: str, sources: Sequence[Source], lexicon: Lexicon) -> tuple[str, list[Claim]]:
    """Return the best one to three sentences as an answer without marks, and a claim for each; ("", []) for none."""
    ranked = rank_sentences(question, sources, lexicon)
    if not ranked:
        return "", []
    wanted = frozenset(lexicon.stems(question))
    chosen = [ranked[0]]
    covered = ranked[0].stems & wanted
    for sentence in ranked[1:]:
        new = (sentence.stems & wanted) - covered
        if len(chosen) < _MOST_SENTENCES and new and sentence.score >= _WORTH_ADDING * ranked[0].score:
            chosen.append(sentence)
            covered |= new
    return _written(sorted(chosen, key=lambda s: (s.source, s.span)))


def _written(chosen: Sequence[Sentence]) -> tuple[str, list[Claim]]:
    text, found = "", []
    for sentence in chosen:
        words = " ".join(sentence.text.split())
        if len(words) > _MOST_CHARACTERS:
            words = f"{words[:_MOST_CHARACTERS].rsplit(' ', 1)[0]} \u2026"
        start = len(text) + bool(text)
        text = f"{text} {words}".strip()
        found.append(Claim(start=start, end=len(text), support=1.0, source=sentence.source, quote=sentence.span))
    return text, found
