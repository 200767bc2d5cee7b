"""A retrieved chunk, as answering sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One chunk that an answer may rest on.

    Attributes:
        score: what it was ranked by; higher is better.
        cosine: its vector's cosine with the question's, in [-1, 1]; None when vectors were not asked.
    """

    chunk_id: str
    document_id: str
    title: str
    text: str
    score: float
    cosine: float | None = None
