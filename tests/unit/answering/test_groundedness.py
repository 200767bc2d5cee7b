"""Sentences that stand in their sources, and those that do not."""

from __future__ import annotations

import pytest

from kaizen.answering.groundedness import claims
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import Mark
from kaizen.config import Answering
from tests.unit.answering.sources import HARBOUR, LIGHTHOUSE, QUESTION, SOURCES, source

LEAST = Answering().min_support
TRUE = "The Pelham lighthouse is 43 metres high."


def test_a_sentence_of_a_source_is_supported_and_attributed_wherever_it_stands() -> None:
    for order, number in ((SOURCES, 1), ((HARBOUR, LIGHTHOUSE), 2)):
        (claim,) = claims(TRUE, QUESTION, order, Lexicon())
        assert (claim.support >= LEAST, claim.source) == (True, number)
        assert "43 metres" in order[number - 1].text[slice(*claim.quote)]


@pytest.mark.parametrize(
    "wrong",
    [
        "The Pelham lighthouse is 48 metres high.",
        "The Pelham lighthouse is 43 metres high and was designed by Marlowe.",
        "The lighthouse stands on granite columns beside an observatory.",
    ],
)
def test_a_wrong_number_an_invented_name_and_an_invented_fact_are_caught(wrong: str) -> None:
    (claim,) = claims(wrong, QUESTION, SOURCES, Lexicon())
    assert claim.support < LEAST


def test_without_its_source_a_true_sentence_has_no_support() -> None:
    (claim,) = claims(TRUE, QUESTION, (HARBOUR,), Lexicon())
    assert claim.support < LEAST
    (nowhere,) = claims(TRUE, QUESTION, (), Lexicon())
    assert (nowhere.support, nowhere.source) == (0.0, 0)


def test_a_mark_decides_between_equal_sources_only() -> None:
    twins = (LIGHTHOUSE, source(2, LIGHTHOUSE.text), HARBOUR)
    (claim,) = claims(TRUE, QUESTION, twins, Lexicon(), [Mark(len(TRUE) - 1, frozenset({2}))])
    assert claim.source == 2
    (claim,) = claims(TRUE, QUESTION, twins, Lexicon(), [Mark(len(TRUE) - 1, frozenset({3}))])
    assert claim.source in (1, 2)


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        ("The lowest temperature of operation is -40 degrees.", "The lowest temperature of operation is 40 degrees."),
        ("You have twenty days of paid leave.", "You have twenty-one days of paid leave."),
        ("You have twenty-one days of paid leave.", "You have twenty days of paid leave."),
        ("The service has 3 million registered users.", "The service has 3 registered users."),
        ("The fee of the service is 3 % a year.", "The fee of the service is 3 a year."),
        ("The bug was fixed in version 1.2.3 of the library.", "The bug was fixed in version 1.2 of the library."),
    ],
)
def test_a_figure_that_lost_or_gained_a_part_is_caught(stands: str, said: str) -> None:
    (right,), (wrong,) = (claims(text, "", [source(1, stands)], Lexicon()) for text in (stands, said))
    assert (right.support, wrong.support) == (1.0, 0.0)
