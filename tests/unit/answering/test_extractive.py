"""Answers in the documents' own words."""

from __future__ import annotations

from kaizen.answering.extractive import extract
from kaizen.answering.lexicon import Lexicon
from tests.unit.answering.sources import HARBOUR, LIGHTHOUSE, QUESTION, source


def test_the_sentence_that_speaks_to_the_question_with_where_it_stands() -> None:
    for order, number in (((LIGHTHOUSE, HARBOUR), 1), ((HARBOUR, LIGHTHOUSE), 2)):
        text, found = extract(QUESTION, order, Lexicon())
        assert "43 metres high" in text
        assert "Ferries" not in text
        assert {claim.source for claim in found} == {number}
        for claim in found:
            assert LIGHTHOUSE.text[slice(*claim.quote)] == text[claim.start : claim.end]


def test_a_question_with_two_subjects_gets_a_sentence_for_each() -> None:
    text, found = extract("When was the lighthouse built and when do ferries stop?", (LIGHTHOUSE, HARBOUR), Lexicon())
    assert "1869" in text
    assert "until March" in text
    assert {claim.source for claim in found} == {1, 2}


def test_an_endless_sentence_is_cut_and_nothing_gives_nothing() -> None:
    text, (claim,) = extract("lighthouse", [source(1, "The lighthouse " + "and the sea " * 500)], Lexicon())
    assert len(text) < 500
    assert (claim.start, claim.end) == (0, len(text))
    assert extract(QUESTION, [], Lexicon()) == ("", [])


def test_of_an_endless_sentence_the_part_that_was_asked_for_is_shown_and_cited() -> None:
    log = " ".join(f"key{n} =\n  value{n}" for n in range(200))
    text, (claim,) = extract("What is key150?", [source(1, log)], Lexicon())
    quoted = " ".join(log[slice(*claim.quote)].split())
    assert "key150 = value150" in quoted
    assert text == f"\u2026 {quoted} \u2026"
    assert 300 < len(quoted) < 420


def test_the_numbers_of_a_documents_own_references_are_no_marks() -> None:
    text, (claim,) = extract("What is on the cliff?", [source(1, "A lighthouse is on the cliff [2].")], Lexicon())
    assert text == "A lighthouse is on the cliff (2)."
    assert claim.quote == (0, 33)


def test_what_several_sources_say_is_said_once_from_the_best() -> None:
    sources = [
        source(1, "Gulls nest here. The Pelham lighthouse is 43 metres high."),
        source(2, "The Pelham lighthouse is\n43 metres high."),
        source(3, "The Pelham lighthouse is 43 metres high. Gulls nest here."),
    ]
    text, (claim,) = extract(QUESTION, sources, Lexicon())
    assert (text, claim.source) == ("The Pelham lighthouse is 43 metres high.", 1)
