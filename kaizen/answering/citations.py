"""Citations: which source a sentence names, and where in that source it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kaizen.answering.groundedness import Claim
from kaizen.answering.source import Source

_MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A source that the answer names as [number].

    Attributes:
        number: from 1, as it stands in the answer's text.
        start, end: the passage of the chunk's text that bears the answer out, in characters.
    """

    number: int
    chunk_id: str
    document_id: str
    start: int
    end: int


def strip_marks(text: str, sources: int) -> tuple[str, list[tuple[int, tuple[int, ...]]]]:
    """Take the marks like [1] or [2, 3] out of `text`.

    Returns:
        The text without marks, and for each place where some stood the source numbers that exist, of 1 to `sources`.
        A number that names no source is dropped.
    """
    plain: list[str] = []
    places: list[tuple[int, tuple[int, ...]]] = []
    length, end = 0, 0
    for match in _MARK.finditer(text):
        plain.append(text[end : match.start()])
        length += match.start() - end
        end = match.end()
        named = tuple(n for n in map(int, re.findall(r"\d+", match.group(1))) if 1 <= n <= sources)
        if named:
            places.append((length, named))
    return "".join([*plain, text[end:]]), places


def with_marks(text: str, found: Sequence[Claim]) -> str:
    """Return `text` with the mark of its source after each claim's sentence."""
    pieces: list[str] = []
    end = 0
    for claim in found:
        pieces.append(f"{text[end : claim.end]} [{claim.source}]")
        end = claim.end
    return "".join([*pieces, text[end:]])


def cited(found: Sequence[Claim], sources: Sequence[Source]) -> tuple[Citation, ...]:
    """Return one citation for each source that the claims rest on, in the order of their numbers."""
    best: dict[int, Claim] = {}
    for claim in found:
        if claim.source not in best or claim.support > best[claim.source].support:
            best[claim.source] = claim
    return tuple(
        Citation(
            number=number,
            chunk_id=sources[number - 1].chunk_id,
            document_id=sources[number - 1].document_id,
            start=claim.quote[0],
            end=claim.quote[1],
        )
        for number, claim in sorted(best.items())
    )
