"""Sources for tests of answering."""

from __future__ import annotations

from kaizen.answering.source import Source


def source(number: int, text: str, *, title: str = "", cosine: float | None = None) -> Source:
    """A chunk `c{number}` of document `d{number}`."""
    return Source(chunk_id=f"c{number}", document_id=f"d{number}", title=title, text=text, score=1.0, cosine=cosine)


QUESTION = "How high is the Pelham lighthouse?"
LIGHTHOUSE = source(1, "The Pelham lighthouse was built in 1869. The Pelham lighthouse is 43 metres high.", cosine=0.8)
HARBOUR = source(2, "The harbour of Aldport freezes in January. Ferries stop until March.", cosine=0.2)
SOURCES = (LIGHTHOUSE, HARBOUR)
