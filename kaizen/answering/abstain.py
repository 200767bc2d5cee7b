"""Is the question's answer in these sources at all? Decided before a generator may invent one."""

from __future__ import annotations

from collections.abc import Sequence

from kaizen.answering.lexicon import Lexicon
from kaizen.answering.source import Source


def relevance(question: str, sources: Sequence[Source], lexicon: Lexicon) -> float:
    """Return how near the nearest source is to the question: its cosine plus half the share of the question's words
    that it holds, so in [-1, 1.5]; -1 without sources. Where there is no cosine the share stands in for it.

    It tells questions about other things. It can hardly tell a question whose subject is there and whose answer is
    not: figures are in docs/decisions.md.
    """
    asked = frozenset(lexicon.stems(question))
    return max((_relevance(asked, source, lexicon) for source in sources), default=-1.0)


def _relevance(asked: frozenset[str], source: Source, lexicon: Lexicon) -> float:
    held = asked & frozenset(lexicon.stems(f"{source.title} {source.text}"))
    share = len(held) / len(asked) if asked else 0.0
    return (share if source.cosine is None else source.cosine) + share / 2
