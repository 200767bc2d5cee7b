"""Citations: which source a sentence names, and where in that source it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaizen.answering.groundedness import Claim
from kaizen.answering.source import Source


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
