"""From chunks to an answer, with generators that behave and generators that do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from kaizen.answering.answer import NOT_IN_PART, Answer, Composer, Delta, Final
from kaizen.answering.source import Source
from kaizen.config import Answering, GeneratorSettings
from kaizen.errors import BadModel, DeadlineExceeded, KaizenError, Unavailable
from kaizen.models.generator import Message
from tests.unit.answering.sources import QUESTION, SOURCES, source

COMPOSER = Composer(Answering(), GeneratorSettings())
TRUE = "The Pelham lighthouse is 43 metres high."
INVENTED = " It was designed by Marlowe in 1901."
Write = Callable[[Sequence[Message], float], Iterator[str]]


class Scripted:
    """A generator that writes what `write` makes of the prompt and the deadline."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.calls = 0

    def stream(self, prompt: Sequence[Message], *, max_tokens: int, deadline: float) -> Iterator[str]:
        assert max_tokens == GeneratorSettings().max_tokens
        self.calls += 1
        return self._write(prompt, deadline)


def says(text: str) -> Scripted:
    words = text.split(" ")
    return Scripted(lambda _prompt, _deadline: iter([words[0], *(f" {word}" for word in words[1:])]))


def run(
    generator: Scripted | None, *, question: str = QUESTION, sources: Sequence[Source] = SOURCES, seconds: float = 30
) -> tuple[str, Final]:
    """The deltas together, and the one Final that must come last."""
    events = list(COMPOSER.events(question, sources, generator, deadline=time.monotonic() + seconds))
    *deltas, final = events
    assert isinstance(final, Final)
    assert all(isinstance(delta, Delta) for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), final


def assert_extractive(answer: Answer, *degraded: str) -> None:
    assert answer.degraded == degraded
    assert "43 metres high" in answer.text
    assert [citation.number for citation in answer.citations] == [1]
    assert (answer.grounded, answer.abstained) == (True, False)


def test_a_good_text_is_kept_and_cited() -> None:
    deltas, final = run(says(TRUE))
    assert (deltas, final.replaced) == (TRUE, False)
    assert final.answer.text == f"{TRUE} [1]"
    assert [(c.number, c.chunk_id) for c in final.answer.citations] == [(1, "c1")]
    assert (final.answer.degraded, final.answer.grounded, final.answer.abstained) == ((), True, False)
    assert final.answer.support >= Answering().min_support


def test_a_citation_of_no_source_or_the_wrong_one_is_put_right() -> None:
    for mark in ("[9]", "[2]"):
        assert run(says(f"{TRUE[:-1]} {mark}."))[1].answer.text == f"{TRUE} [1]"


def test_code_keeps_its_index_and_a_mark_on_a_word_still_cites() -> None:
    code = source(1, "The first argument is read from sys.argv[1] by main.")
    question, said = "Where is the first argument read from?", "The first argument is read from sys.argv[1]."
    assert run(says(said), question=question, sources=(code,))[1].answer.text == f"{said} [1]"
    _, final = run(says(f"{TRUE[:-1]}[1]."))
    assert (final.answer.text, final.replaced) == (f"{TRUE} [1]", False)


def test_sentences_from_the_first_invented_one_on_are_taken_out() -> None:
    deltas, final = run(says(TRUE + INVENTED))
    assert deltas == TRUE + INVENTED
    assert (final.answer.text, final.replaced, final.answer.degraded) == (f"{TRUE} [1]", True, ())


def test_an_invented_text_is_replaced() -> None:
    _, final = run(says(INVENTED.strip()))
    assert_extractive(final.answer, "ungrounded")
    assert final.replaced


def test_a_generator_that_echoes_its_prompt_is_replaced() -> None:
    deltas, final = run(Scripted(lambda prompt, _deadline: iter([prompt[-1]["content"]])))
    assert deltas
    assert_extractive(final.answer, "ungrounded")
    assert final.replaced


def test_a_silent_generator_is_replaced_and_there_is_nothing_to_take_back() -> None:
    deltas, final = run(Scripted(lambda _prompt, _deadline: iter(())))
    assert_extractive(final.answer, "ungrounded")
    assert (deltas, final.replaced) == ("", False)


def breaks(error: KaizenError, *pieces: str) -> Scripted:
    def write(_prompt: Sequence[Message], _deadline: float) -> Iterator[str]:
        yield from pieces
        raise error

    return Scripted(write)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("Gone."), "generator-unavailable"),
        (BadModel("No such model."), "generator-unavailable"),
        (DeadlineExceeded("Late."), "generator-timeout"),
    ],
)
@pytest.mark.parametrize("pieces", [(), ("The Pelham",)])
def test_a_generator_that_fails_is_replaced(error: KaizenError, reason: str, pieces: tuple[str, ...]) -> None:
    deltas, final = run(breaks(error, *pieces))
    assert deltas == "".join(pieces)
    assert_extractive(final.answer, reason)
    assert final.replaced == bool(pieces)


def test_a_slow_generator_leaves_time_for_the_extractive_answer() -> None:
    def write(_prompt: Sequence[Message], deadline: float) -> Iterator[str]:
        time.sleep(max(0.0, deadline - time.monotonic()))  # a generator that uses up all that it is given
        raise DeadlineExceeded("Late.")
        yield ""

    start = time.monotonic()
    _, final = run(Scripted(write), seconds=1.0)
    assert time.monotonic() - start < 1.0
    assert_extractive(final.answer, "generator-timeout")


def test_without_a_generator_the_extractive_answer_is_no_degradation() -> None:
    deltas, final = run(None)
    assert (deltas, final.replaced) == ("", False)
    assert_extractive(final.answer)


def test_a_generator_may_say_that_the_documents_do_not_hold_it() -> None:
    _, final = run(says("Not in the documents."))
    assert (final.answer.abstained, final.answer.citations, final.answer.degraded) == (True, (), ())
    assert final.replaced


@pytest.mark.parametrize(
    ("question", "sources"),
    [("Which enzyme splits lactose?", (source(1, "The harbour freezes.", cosine=0.05),)), (QUESTION, ())],
)
def test_off_topic_the_generator_is_not_even_asked(question: str, sources: tuple[Source, ...]) -> None:
    generator = says(TRUE)
    deltas, final = run(generator, question=question, sources=sources)
    assert (generator.calls, deltas, final.replaced) == (0, "", False)
    assert (final.answer.abstained, final.answer.citations) == (True, ())


@pytest.mark.parametrize(("generator", "sources"), [(None, ()), (says("Not in the documents."), SOURCES)])
def test_of_a_part_of_the_documents_no_more_is_said_than_is_known(
    generator: Scripted | None, sources: tuple[Source, ...]
) -> None:
    *_, final = COMPOSER.events(QUESTION, sources, generator, deadline=time.monotonic() + 30, partial=True)
    assert isinstance(final, Final)
    assert (final.answer.text, final.answer.abstained) == (NOT_IN_PART, True)


def test_what_stands_in_a_part_of_the_documents_is_an_answer_like_any_other() -> None:
    *_, final = COMPOSER.events(QUESTION, SOURCES, says(TRUE), deadline=time.monotonic() + 30, partial=True)
    assert final == run(says(TRUE))[1]


def test_compose_is_the_final_answer() -> None:
    answer = COMPOSER.compose(QUESTION, SOURCES, says(TRUE), deadline=time.monotonic() + 30)
    assert answer == run(says(TRUE))[1].answer
