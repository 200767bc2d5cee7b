"""Marks in a generator's text, and the citations of an answer."""

from __future__ import annotations

from kaizen.answering.citations import Citation, cited, with_marks
from kaizen.answering.groundedness import claims
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import Mark, parse_marks
from tests.unit.answering.sources import SOURCES


def test_marks_are_taken_out_and_those_of_no_source_dropped() -> None:
    plain, marks = parse_marks("It is high [1]. It is old [7]. Both [2, 9].", sources=2)
    assert plain == "It is high. It is old. Both."
    assert marks == [Mark(10, frozenset({1})), Mark(27, frozenset({2}))]


def test_zero_is_no_source_and_other_brackets_are_text() -> None:
    assert parse_marks("a [0] b [sic] c [2024-01-01]", sources=3) == ("a b [sic] c [2024-01-01]", [])


def test_a_citation_points_at_the_passage_and_the_text_names_it() -> None:
    answer = "The lighthouse is 43 metres high. Ferries stop until March."
    question = "How high is the lighthouse, and when do ferries stop?"
    found = claims(answer, question, SOURCES, Lexicon())
    assert with_marks(answer, found) == "The lighthouse is 43 metres high. [1] Ferries stop until March. [2]"
    first, second = cited(found, SOURCES)
    assert (first.number, first.chunk_id, first.document_id) == (1, "c1", "d1")
    assert "43 metres high" in SOURCES[0].text[first.start : first.end]
    assert isinstance(second, Citation)
    assert "until March" in SOURCES[1].text[second.start : second.end]
