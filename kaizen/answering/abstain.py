"""Is the question's answer in these sources at all? Decided before a generator may invent one."""

from __future__ import annotations

from collections.abc import Sequence

from kaizen.answering.extractive import rank_sentences
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.source import Source
from kaizen.config import Answering


def is_off_topic(question: str, sources: Sequence[Source], lexicon: Lexicon, settings: Answering) -> bool:
    """Return whether no source is near enough to the question, by meaning (cosine) or by words.

    It tells questions about other things; it cannot tell a question whose subject is there and whose answer is not.
    """
    if not sources:
        return True
    cosines = [s.cosine for s in sources if s.cosine is not None]
    if cosines:
        return max(cosines) < settings.min_relevance
    return not any(s.score > 0 for s in rank_sentences(question, sources, lexicon)[:1])
