"""Marks in a generator's text, and the citations of an answer."""

from __future__ import annotations

import pytest

from kaizen.answering.citations import Citation, cited, with_marks
from kaizen.answering.groundedness import claims
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import Mark, parse_marks, without_own_marks
from tests.unit.answering.sources import SOURCES


def test_marks_are_taken_out_and_those_of_no_source_dropped() -> None:
    plain, marks = parse_marks("It is high [1]. It is old [7]. Both [2, 9].", ["", ""])
    assert plain == "It is high. It is old. Both."
    assert marks == [Mark(10, frozenset({1})), Mark(27, frozenset({2}))]


def test_zero_is_no_source_and_other_brackets_are_text() -> None:
    assert parse_marks("a [0] b [sic] c [2024-01-01]", ["", "", ""]) == ("a b [sic] c [2024-01-01]", [])


@pytest.mark.parametrize(
    "said", ["sys.argv[1]", "rows[0][1]", "f(x)[2]", "the first (argv[1])", "`argv[1]`", "Aspirin[2] is old"]
)
def test_a_bracket_that_hangs_on_a_word_of_a_source_is_no_mark(said: str) -> None:
    texts = [f"Read {said} twice.", "other"]
    assert parse_marks(f"It is {said}.", texts) == (f"It is {said}.", [])
    assert parse_marks(f"It is {said} [2].", texts) == (f"It is {said}.", [Mark(6 + len(said), frozenset({2}))])


def test_any_other_bracket_that_hangs_on_a_word_is_a_mark() -> None:
    texts = ["The sky is blue. Read sys.argv[1], see (above).", "The sky is blue [2]."]
    for said in ("The sky is blue", "Read sys.argv", "See (above)"):
        assert parse_marks(f"{said}[2].", texts) == (f"{said}.", [Mark(len(said), frozenset({2}))])
    assert parse_marks("The sky is blue.[1][2]", texts)[0] == "The sky is blue."
    assert parse_marks("Read sys.argv[1][2].", texts) == ("Read sys.argv[1].", [Mark(16, frozenset({2}))])


def test_a_document_has_no_marks_of_its_own() -> None:
    text = "Aspirin inhibits it [2], [3][4]. [5] So (see [6]) does x[1], rows[0][1], f(x)[2], [1, 2] and [2024]."
    shown = "Aspirin inhibits it (2), (3)(4). (5) So (see (6)) does x[1], rows[0][1], f(x)[2], [1, 2] and [2024]."
    assert without_own_marks(text) == shown


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
