"""Two generators on the same questions and sources: are answers borne out, do they say what people wanted?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kaizen.answering.answer import NOT_IN_DOCUMENTS, Composer
from kaizen.answering.excerpt import excerpts
from kaizen.answering.lexicon import Lexicon
from kaizen.answering.marks import parse_marks
from kaizen.answering.prompt import build_prompt
from kaizen.answering.source import Source
from kaizen.config import GeneratorSettings
from kaizen.errors import KaizenError
from kaizen.evaluation.paired import compare
from kaizen.evaluation.verdict import AGREEMENT, Compared, Finding
from kaizen.models.generator import Generator, Message, open_generator
from kaizen.records import Release
from kaizen.release import answering_of, generator_of
from kaizen.workspace import Workspace

_ECHOED = 0.5  # share of an answer's runs of words that stand in the instructions or the question
_RUN_WORDS = 4
_SECONDS = 30.0  # for one answer: this judges what is said, not how fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its sources; `wanted`: the answer that somebody wrote, empty for a probe."""

    text: str
    sources: tuple[Source, ...]
    wanted: str = ""


class Answerer:
    """The generator of a release, opened for judging. Close it."""

    def __init__(self, workspace: Workspace, release: Release, environment: Mapping[str, str]) -> None:
        settings: GeneratorSettings = generator_of(release, workspace.settings.generator)
        self.instructions = str(release.parts["prompt"]["instructions"])
        self._settings = settings
        self._answering = answering_of(release)
        self._composer = Composer(self._answering, settings, self.instructions)
        self._generator: Generator | None = None
        if settings.kind != "extractive":
            self._generator = open_generator(settings, environment, workspace.model_path)

    def close(self) -> None:
        """Release the model."""
        if self._generator is not None:
            self._generator.close()

    def answer(self, question: Question) -> dict[str, float]:
        """Return `grounded` (what the generator wrote stands in the sources), `answered` and the agreement."""
        deadline = time.monotonic() + _SECONDS
        texts = [source.text for source in question.sources]
        made = self._composer.compose(question.text, question.sources, self._generator, deadline=deadline)
        return {
            "grounded": float(made.grounded and not made.degraded),
            "answered": float(not made.abstained),
            AGREEMENT: agreement(parse_marks(made.text, texts)[0], question.wanted),
        }

    def raw(self, question: Question) -> tuple[str, Sequence[Message], str]:
        """Return what the generator wrote before any check, the chat that it was given, and its marker."""
        quoted = excerpts(question.text, question.sources, Lexicon(), tokens=self._answering.source_tokens)
        prompt = build_prompt(question.text, quoted, self.instructions)
        return "".join(self._pieces(prompt.messages)), prompt.messages, prompt.marker

    def _pieces(self, messages: Sequence[Message]) -> Iterator[str]:
        if self._generator is None:
            return
        deadline = time.monotonic() + _SECONDS
        with suppress(KaizenError):  # what it wrote until then tells enough
            yield from self._generator.stream(messages, max_tokens=self._settings.max_tokens, deadline=deadline)


def check_generator(
    workspace: Workspace, candidate: Release, probes: Sequence[Question], environment: Mapping[str, str]
) -> list[Finding]:
    """Return what is wrong with the candidate's generator, from what it writes to a few probes; nothing without any."""
    try:
        with closing(Answerer(workspace, candidate, environment)) as answerer:
            echoes = [_echoes(*answerer.raw(probe)) for probe in probes]
            grounded = sum(answerer.answer(probe)["grounded"] for probe in probes)
    except KaizenError as error:
        return [Finding(code="bad-generator", reason=f"Its generator cannot be used: {error.message}")]
    figures = {"probes": len(probes), "echoes": sum(echoes), "grounded": grounded}
    if sum(echoes) * 2 > len(probes):
        reason = f"Its generator repeats its prompt instead of answering: {sum(echoes)} of {len(probes)} times."
        return [Finding(code="echoes-prompt", reason=reason, figures=figures)]
    if probes and not grounded:
        reason = f"Nothing that its generator writes stands in its sources: 0 of {len(probes)} answers."
        return [Finding(code="ungrounded", reason=reason, figures=figures)]
    return []


def compare_answers(stable: Answerer, candidate: Answerer, questions: Sequence[Question]) -> Compared:
    """Measure both on the same questions (at least one)."""
    sides = [[side.answer(question) for question in questions] for side in (stable, candidate)]
    names = [str(number) for number in range(len(questions))]
    before, after = (
        {metric: dict(zip(names, (found[metric] for found in side), strict=True)) for metric in side[0]}
        for side in sides
    )
    return Compared(metrics={metric: compare(before[metric], after[metric]) for metric in before})


def demonstrated(demonstrations: pa.Table, most: int) -> list[Question]:
    """Return held-out demonstrations as questions; at most `most`.

    A query is asked once, however many demonstrations it has: what is compared must not depend on each other. What is
    wanted is the answer of the greatest weight; of equals what somebody wrote.
    """
    rows = (row for row in demonstrations.to_pylist() if row["split"] == "held_out" and row["sources"])
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (-row["weight"], row["kind"], row["chosen"])):
        best.setdefault((row["query_id"], row["tenant"]), row)
    return [_question(best[name]) for name in sorted(best)[:most]]


def _question(row: Mapping[str, Any]) -> Question:
    return Question(
        text=row["query"],
        sources=tuple(
            Source(chunk_id=str(n), document_id=str(n), title=source["title"], text=source["text"], score=1.0)
            for n, source in enumerate(row["sources"])
        ),
        wanted=row["chosen"],
    )


def agreement(said: str, wanted: str) -> float:
    """Return the F1 of the words of two answers, as SQuAD counts it (Rajpurkar and others 2016); stems, no stop words.

    0 when either has no words; an abstention agrees with an abstention.
    """
    if NOT_IN_DOCUMENTS in (said, wanted):
        return float(said == wanted)
    lexicon = Lexicon()
    one, other = Counter(lexicon.stems(said)), Counter(lexicon.stems(wanted))
    common = sum((one & other).values())
    return 2 * common / (sum(one.values()) + sum(other.values())) if common else 0.0


def _echoes(text: str, chat: Sequence[Message], marker: str) -> bool:
    """Whether an answer is the prompt again: the marker that no answer may have, or the words of the instructions."""
    told = " ".join(message["content"] for message in chat if message["role"] == "system")
    asked = chat[-1]["content"].rsplit("Question:", 1)[-1]
    said = _runs(text)
    return marker in text or (bool(said) and len(said & (_runs(told) | _runs(asked))) >= _ECHOED * len(said))


def _runs(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return set(zip(*(words[start:] for start in range(_RUN_WORDS)), strict=False))
