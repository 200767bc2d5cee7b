"""What a sweep of answers draws, how it values an answer, and that settings which answer better are worth more."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen.answering.prompt import prompt_record
from kaizen.config import Answering, Settings
from kaizen.records import Release
from kaizen.release import answering_of
from tests.unit.answering.sources import HARBOUR, LIGHTHOUSE, QUESTION, source
from tune.answering import AnsweringStudy, Question, answering_part
from tune.spaces import PRESENT_PROMPT, PROMPTS, OneOf, answering_settings, answering_space, draw, present_answering

OWN = "Say it in verse."
MISLEADING = source(3, "The Pelham lighthouse is high up on the coast.", cosine=0.7)
ASKED = Question(text=QUESTION, sources=(LIGHTHOUSE, MISLEADING, HARBOUR), relevant=frozenset({"d1"}))


def release(kind: str = "extractive", **settings: float) -> Release:
    parts = {"generator": {"kind": kind}, "prompt": prompt_record(Answering(**settings), OWN)}
    return Release(id="r1", number=1, at=0.0, fingerprint="f", parts=parts, parent=None)


def values(directory: Path, **settings: float) -> dict[str, float]:
    base = release()
    study = AnsweringStudy(
        settings=Settings.model_validate({"workspace": {"directory": directory}}), base=base, questions={"q": ASKED}
    )
    return study.values({**present_answering(base, generated=False), **settings})


def test_the_present_settings_come_first_and_change_nothing() -> None:
    base = release("llama_cpp", chunks=3, min_relevance=0.55)
    drawn = draw(answering_space(generated=True), present_answering(base, generated=True), 32, seed=1)
    assert answering_settings(base, drawn[0]) == (answering_of(base), OWN)
    assert answering_part(base, drawn[0]) == base.parts["prompt"]
    assert {one["prompt"] for one in drawn} == {PRESENT_PROMPT, *PROMPTS}
    for one in drawn:
        settings, _ = answering_settings(base, one)
        assert Answering(**settings.model_dump()) == settings, "it is in the range of the configuration"


def test_another_prompt_and_threshold_are_another_part() -> None:
    base = release("llama_cpp")
    changed = answering_part(base, {"chunks": 2, "prompt": "quote"})
    assert (changed["instructions"], changed["settings"]["chunks"]) == (PROMPTS["quote"], 2)
    assert changed["fingerprint"] != base.parts["prompt"]["fingerprint"]
    assert changed["settings"]["min_support"] == base.parts["prompt"]["settings"]["min_support"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_relevance": 0.0}, 0.5),  # it answers from whatever is left
        ({"min_relevance": 1.25}, 1.0),  # the lighthouse answers; without it nothing is near enough
        ({"min_relevance": 1.4}, 0.5),  # it never answers
    ],
)
def test_an_answer_is_worth_its_citations_and_an_abstention_where_there_is_none(
    tmp_path: Path, settings: dict[str, float], expected: float
) -> None:
    assert values(tmp_path, chunks=1, **settings) == {"q": expected}


def test_citations_of_other_documents_take_from_its_worth(tmp_path: Path) -> None:
    question = Question(text=QUESTION, sources=(MISLEADING, LIGHTHOUSE), relevant=frozenset({"d1"}))
    base = release()
    settings = Settings.model_validate({"workspace": {"directory": tmp_path}})
    study = AnsweringStudy(settings=settings, base=base, questions={"q": question})
    assert study.values({"chunks": 1, "min_relevance": 0.0}) == {"q": 0.0}
    assert study.values({"chunks": 2, "min_relevance": 0.0}) == {"q": 0.25}


def test_axes_of_names() -> None:
    assert [OneOf(("a", "b")).at(share) for share in (0.0, 0.49, 0.5, 0.999)] == ["a", "a", "b", "b"]
