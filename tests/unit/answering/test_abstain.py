"""Questions about other things are told from questions about the sources."""

from __future__ import annotations

from kaizen.answering.abstain import relevance
from kaizen.answering.lexicon import Lexicon
from kaizen.config import Answering
from tests.unit.answering.sources import HARBOUR, LIGHTHOUSE, QUESTION, source

LEAST = Answering().min_relevance
OFF_TOPIC = "Which enzyme splits lactose?"


def test_on_topic_passes_and_off_topic_does_not() -> None:
    assert relevance(QUESTION, (LIGHTHOUSE, HARBOUR), Lexicon()) >= LEAST
    assert relevance(OFF_TOPIC, (source(1, LIGHTHOUSE.text, cosine=0.1), HARBOUR), Lexicon()) < LEAST


def test_the_nearest_source_decides_and_none_is_never_enough() -> None:
    alone = relevance(QUESTION, (LIGHTHOUSE,), Lexicon())
    assert relevance(QUESTION, (HARBOUR, LIGHTHOUSE), Lexicon()) == alone
    assert relevance(QUESTION, (), Lexicon()) < LEAST


def test_words_stand_in_for_a_missing_cosine() -> None:
    bare = source(1, LIGHTHOUSE.text)
    assert relevance(QUESTION, (bare,), Lexicon()) >= LEAST > relevance(OFF_TOPIC, (bare,), Lexicon())
