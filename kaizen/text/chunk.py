"""Cutting a document into the pieces that are embedded and retrieved."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

from kaizen.config import Chunking
from kaizen.records import Chunk, Document
from kaizen.text.sentences import sentence_spans
from kaizen.text.tokens import WORD, TokenCounter

_CLAUSE_ENDS = frozenset(",;:)]}\u2014\uff0c\u3001\uff1b\uff1a")
_MOST_CHARS_PER_TOKEN = 16  # English has 4 to 6; beyond this a chunk is noise that one [UNK] stands for
_PARAGRAPH_WORTH = 0.25  # of the budget: how far from even a cut may move to fall between paragraphs
_HEADING_CHARS = 100
_SECTION_CHARS = 2**18


def embedded_text(title: str, chunk_text: str) -> str:
    """Return what the embedder reads for a chunk. `title` is a short one: see `Chunker.short_title`."""
    return f"{title} {chunk_text}" if title else chunk_text


class _Unit(NamedTuple):
    """A sentence, or a piece of one that was over the budget. `intact`: no word of it was cut."""

    start: int
    end: int
    tokens: int
    intact: bool


class Chunker:
    """Cuts documents at sentence ends into chunks of at most `settings.max_tokens` tokens.

    The budget is that of the text which is embedded: specials and title included. Chunks of one document are of
    even size rather than full ones and a crumb, prefer to end with a paragraph, and never end with a heading if
    that can be helped. Safe to share between threads.
    """

    def __init__(self, tokenizer: TokenCounter, settings: Chunking) -> None:
        self._counter = tokenizer
        self._max_tokens = settings.max_tokens
        self._overlap = settings.overlap_tokens
        self._max_chars = _MOST_CHARS_PER_TOKEN * settings.max_tokens

    def short_title(self, title: str) -> str:
        """Return `title` cut between words (or inside one) to at most a quarter of the token budget."""
        most = self._max_tokens // 4
        title = " ".join(title[: self._max_chars].split())
        if self._counter.count(title) <= most:
            return title
        end = max((e for _, e, tokens in self._prefixes(title) if tokens <= most), default=0)
        short = title[:end] or title[:most]
        while self._counter.count(short) > most:
            short = short[: len(short) // 2]
        return short

    def embedded_texts(self, document: Document, chunks: list[Chunk]) -> list[str]:
        """Return what the embedder reads for `chunks` of `document`, in their order."""
        title = self.short_title(document.title)
        return [embedded_text(title, chunk.text) for chunk in chunks]

    def chunks(self, document: Document) -> list[Chunk]:
        """Return the chunks of `document` in order; none when its text is blank.

        `document.text[c.start:c.end] == c.text`; `c.tokens` counts the embedded text, specials included, and is at
        most the budget; together the chunks cover all that is not blank; a document that fits is one chunk.
        """
        title = self.short_title(document.title)
        fixed = self._counter.specials + (self._counter.count(title) if title else 0)
        text = document.text
        spans = self._whole(text, title, fixed) or list(self._cut(text, title, fixed))
        return [
            Chunk(document_id=document.id, ordinal=i, text=text[start:end], start=start, end=end, tokens=tokens)
            for i, (start, end, tokens) in enumerate(spans)
        ]

    def _whole(self, text: str, title: str, fixed: int) -> list[tuple[int, int, int]]:
        body = text.strip()
        if not body or len(body) > self._max_chars:
            return []
        start = text.index(body[0])
        tokens = fixed + self._counter.words(body)
        if not self._counter.additive:
            tokens = self._exact(title, body)
        return [(start, start + len(body), tokens)] if tokens <= self._max_tokens else []

    def _exact(self, title: str, body: str) -> int:
        return self._counter.specials + self._counter.count(embedded_text(title, body))

    def _cut(self, text: str, title: str, fixed: int) -> Iterator[tuple[int, int, int]]:
        budget = self._max_tokens - fixed
        overlap = min(self._overlap, budget // 3)
        for start, end in _sections(text):
            units = list(self._units(text, start, end, budget))
            for low, high in _Packer(text, units, budget, overlap, self._max_chars).ranges():
                yield from self._fitting(text, title, fixed, units[low:high])

    def _units(self, text: str, begin: int, stop: int, budget: int) -> Iterator[_Unit]:
        for start, end in sentence_spans(text, begin, stop):
            tokens = self._counter.words(text, start, end) if end - start <= self._max_chars else budget + 1
            if tokens <= budget:
                yield _Unit(start, end, tokens, True)
            else:
                yield from self._pieces(text, start, end, budget)

    def _pieces(self, text: str, start: int, end: int, budget: int) -> Iterator[_Unit]:
        """Cut a sentence that is over the budget: after a clause, else between words, else inside a word."""
        while start < end:
            best = clause = None
            for _, stop, tokens in self._prefixes(text, start, end):
                if tokens > budget:
                    break
                best = (stop, tokens)
                if text[stop - 1] in _CLAUSE_ENDS and 2 * tokens >= budget:
                    clause = best
            else:
                clause = None
            if best is None:
                word = WORD.match(text, start, end)
                stop = word.end() if word else end
                yield from self._word_pieces(text, start, stop, budget)
            else:
                stop, tokens = clause or best
                if not text[start:stop].isspace():  # control characters that are blank to Python
                    yield _Unit(start, stop, tokens, True)
            start = _next_word(text, stop, end)

    def _prefixes(self, text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Yield (start, end, tokens) of ever longer runs of whole words; a run over the character limit counts as
        endless and is the last."""
        total = 0
        for word in WORD.finditer(text, start, len(text) if end is None else end):
            if word.end() - start > self._max_chars:
                yield start, word.end(), 10**9
                return
            total += self._counter.word(word.group())
            yield start, word.end(), total

    def _word_pieces(self, text: str, start: int, end: int, budget: int) -> Iterator[_Unit]:
        while start < end:
            stop = min(end, start + 4 * budget)
            tokens = self._counter.count(text[start:stop])
            while tokens > budget and stop - start > 1:
                # In proportion, then a little less: the next count is nearly always the last.
                stop = start + max(1, min((stop - start) * budget // tokens, stop - start - 1))
                stop = _after_mark(text, start, stop)
                tokens = self._counter.count(text[start:stop])
            yield _Unit(start, stop, tokens, False)
            start = stop

    def _fitting(self, text: str, title: str, fixed: int, units: list[_Unit]) -> Iterator[tuple[int, int, int]]:
        """Yield the span of `units`, or of parts of it where the sum over words was too low."""
        start, end = units[0].start, units[-1].end
        tokens = fixed + sum(unit.tokens for unit in units)
        if not self._counter.additive or not all(unit.intact for unit in units):
            tokens = self._exact(title, text[start:end])
        if tokens <= self._max_tokens or end - start == 1:
            yield start, end, tokens
        elif len(units) > 1:
            half = len(units) // 2
            yield from self._fitting(text, title, fixed, units[:half])
            yield from self._fitting(text, title, fixed, units[half:])
        else:
            half = _after_mark(text, start, (start + end) // 2)
            yield from self._fitting(text, title, fixed, [_Unit(start, half, 0, False)])
            yield from self._fitting(text, title, fixed, [_Unit(half, end, 0, False)])


class _Packer:
    """Groups units into chunks of even size."""

    def __init__(self, text: str, units: list[_Unit], budget: int, overlap: int, max_chars: int) -> None:
        self._text = text
        self._units = units
        self._budget = budget
        self._overlap = overlap
        self._max_chars = max_chars

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield (low, high) of each chunk's units; neighbours overlap by whole units."""
        first, rest = 0, sum(unit.tokens for unit in self._units)
        while first < len(self._units):
            low, before = self._overlapping(first)
            high = self._end(first, low, before, rest)
            yield low, high
            rest -= sum(unit.tokens for unit in self._units[first:high])
            first = high

    def _overlapping(self, first: int) -> tuple[int, int]:
        """Return where the chunk that brings unit `first` starts, and the tokens that it repeats."""
        low, repeated = first, 0
        room = min(self._overlap, self._budget - self._units[first].tokens)
        while (
            low > 0
            and repeated + self._units[low - 1].tokens <= room
            and self._chars(low - 1, first) <= self._max_chars
        ):
            low -= 1
            repeated += self._units[low].tokens
        return low, repeated

    def _end(self, first: int, low: int, before: int, rest: int) -> int:
        """Return the end of the chunk: of all ends that fit, the one that is nearest to an even share."""
        share = rest / ceil(rest / max(1, self._budget - self._overlap)) if rest else 0
        best, best_cost, total = first + 1, float("inf"), 0
        for index in range(first, len(self._units)):
            total += self._units[index].tokens
            if index > first and (before + total > self._budget or self._chars(low, index) > self._max_chars):
                return best
            cost = abs(total - share) - self._worth(index) * self._budget
            if cost <= best_cost:
                best, best_cost = index + 1, cost
        return len(self._units)

    def _worth(self, index: int) -> float:
        """Return how good it is to end a chunk with unit `index`, as a share of the budget."""
        if (
            index + 1 == len(self._units)
            or "\n\n" not in self._text[self._units[index].end : self._units[index + 1].start]
        ):
            return 0.0
        return -_PARAGRAPH_WORTH if self._is_heading(index) else _PARAGRAPH_WORTH

    def _is_heading(self, index: int) -> bool:
        unit = self._units[index]
        if unit.end - unit.start > _HEADING_CHARS:
            return False
        line = self._text[unit.start : unit.end]
        return line.startswith("#") or ("\n" not in line and line[-1] not in ".!?:;,\u3002")

    def _chars(self, low: int, index: int) -> int:
        return self._units[index].end - self._units[low].start


def _sections(text: str) -> Iterator[tuple[int, int]]:
    """Yield spans that are cut one by one, so that memory does not grow with the document: books have sentences by
    the hundred thousand. They end with a paragraph, else a sentence, else a word."""
    start = 0
    while len(text) - start > _SECTION_CHARS:
        high = start + _SECTION_CHARS
        low = high - _SECTION_CHARS // 4
        breaks = (text.rfind(mark, low, high) for mark in ("\n\n", "\n", ". ", " "))
        end = next((place + 1 for place in breaks if place >= 0), high)
        yield start, end
        start = end
    yield start, len(text)


def _next_word(text: str, start: int, end: int) -> int:
    word = WORD.search(text, start, end)
    return word.start() if word else end


def _after_mark(text: str, start: int, stop: int) -> int:
    """Return the last place in the second half of [start, stop) that follows something else than a letter or digit."""
    for place in range(stop, start + (stop - start) // 2, -1):
        if not text[place - 1].isalnum():
            return place
    return stop
