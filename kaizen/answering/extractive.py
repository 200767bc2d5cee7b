"""An answer in the documents' own words: the sentences that speak most to the question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kaizen.answering.groundedness import Claim
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import without_own_marks
from kaizen.answering.source import Source
from kaizen.answering.window import window
from kaizen.text.sentences import Span, sentence_spans

_MOST_SENTENCES = 3
_MOST_CHARACTERS = 400
_NEARLY_AS_GOOD = 0.8  # of the best sentence's score
_GOOD = 0.6
_TITLE_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence of a source and how much it speaks to the question. `source` counts from 1."""

    source: int
    span: Span
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
    """Return the best one to three sentences as an answer without marks, and a claim for each; ("", []) for none.

    The source of the best sentence comes first; within a source they stand in its order.
    """
    wanted = frozenset(lexicon.stems(question))
    chosen = _chosen(rank_sentences(question, sources, lexicon), wanted)
    first = {sentence.source: place for place, sentence in reversed(list(enumerate(chosen)))}
    ordered = sorted(chosen, key=lambda s: (first[s.source], s.span))
    return _written([(sentence.source, *_shown(sentence, wanted, lexicon)) for sentence in ordered])


def _chosen(ranked: Sequence[Sentence], wanted: frozenset[str]) -> list[Sentence]:
    """The best sentence; others that are nearly as good, or good and hold words of the question that none held yet.

    What two sources say alike is said once, from the better one.
    """
    chosen: list[Sentence] = []
    said: set[str] = set()
    covered: frozenset[str] = frozenset()
    for sentence in ranked:
        needed = _GOOD if (sentence.stems & wanted) - covered else _NEARLY_AS_GOOD
        good = len(chosen) < _MOST_SENTENCES and sentence.score >= needed * ranked[0].score
        if good and (words := _on_one_line(sentence.text)) not in said:
            chosen.append(sentence)
            said.add(words)
            covered |= sentence.stems & wanted
    return chosen


def _shown(sentence: Sentence, wanted: frozenset[str], lexicon: Lexicon) -> tuple[str, Span]:
    """What the answer shows of a sentence, on one line, and where this stands in its source."""
    text, (begin, _) = sentence.text, sentence.span
    length = len(_on_one_line(text))
    if length <= _MOST_CHARACTERS:
        return without_own_marks(_on_one_line(text)), sentence.span
    start, end = window(text, wanted, lexicon, _MOST_CHARACTERS * len(text) // length)
    before, after = ("\u2026 " if start else ""), (" \u2026" if end < len(text) else "")
    return f"{before}{without_own_marks(_on_one_line(text[start:end]))}{after}", (begin + start, begin + end)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _written(shown: Sequence[tuple[int, str, Span]]) -> tuple[str, list[Claim]]:
    text, found = "", []
    for source, words, quote in shown:
        start = len(text) + bool(text)
        text = f"{text} {words}".strip()
        found.append(Claim(start=start, end=len(text), support=1.0, source=source, quote=quote))
    return text, found
