"""Trials of how a release answers: number of chunks, when it abstains, and for a generator what it reads and is told.

Judged questions name documents, not words. So a question counts twice, each half of its value:

    its documents are there         the share of the answer's citations that name one of them; 0 for an abstention,
                                    and for a generator's text that was replaced because it stands in no source
    they have been taken away       1 for an abstention: what is left does not hold what was asked

How well a sentence must be borne out (`answering.min_support`) is a promise to whoever reads, and is not tried: a
lower bar would only let more pass.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kaizen.answering.answer import Answer, Composer
from kaizen.answering.prompt import prompt_record
from kaizen.answering.source import Source
from kaizen.config import Settings
from kaizen.judging.query_sets import Asked
from kaizen.judging.side import Side
from kaizen.models.generator import Generator, open_generator
from kaizen.offline import OfflineIndex, open_query_embedder
from kaizen.records import Release
from kaizen.release import Part, generator_of, ranker_of, retrieval_of
from kaizen.workspace import Workspace, open_workspace
from tune.spaces import MOST_CHUNKS, answering_settings
from tune.study import Report

SPARE = 16  # further chunks, that take the place of those which are taken away
SECONDS = 60.0  # for one answer: what is said is judged, not how fast
MOST_QUESTIONS = {"extractive": 500}  # of a half
MOST_GENERATED = 24  # a small generator takes seconds for an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A judged query: its best chunks, and the documents that answer it."""

    text: str
    sources: tuple[Source, ...]
    relevant: frozenset[str]

    def value(self, answer: Callable[[str, Sequence[Source]], Answer], chunks: int) -> float:
        """Return from 0 to 1 how well `answer(question, sources)` does from so many chunks; see the module."""
        others = [source for source in self.sources if source.document_id not in self.relevant]
        there, gone = answer(self.text, self.sources[:chunks]), answer(self.text, others[:chunks])
        cited = [citation.document_id in self.relevant for citation in there.citations]
        good = 0.0 if there.abstained or there.degraded or not cited else sum(cited) / len(cited)
        return (good + float(gone.abstained)) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringStudy:
    """See Study. A worker opens the generator of `base` itself, if it has one."""

    settings: Settings
    base: Release
    questions: Mapping[str, Question]
    stepwise: bool = False

    def run(self, settings: Mapping[str, Any], report: Callable[[Report], None]) -> None:
        """See Study."""
        report(Report(share=1.0, values=self.values(settings)))

    def values(self, settings: Mapping[str, Any]) -> dict[str, float]:
        """Return the value of each question under these settings."""
        answering, instructions = answering_settings(self.base, settings)
        composer = Composer(answering, generator_of(self.base, self.settings.generator), instructions)
        with _generator(self.settings, self.base) as generator:

            def answer(question: str, sources: Sequence[Source]) -> Answer:
                return composer.compose(question, sources, generator, deadline=time.monotonic() + SECONDS)

            return {name: one.value(answer, answering.chunks) for name, one in self.questions.items()}


def answering_part(base: Release, settings: Mapping[str, Any]) -> Part:
    """The part `prompt` of a release that answers with these settings."""
    return prompt_record(*answering_settings(base, settings))


def questions(
    workspace: Workspace, base: Release, index: OfflineIndex, asked: Mapping[str, Asked]
) -> dict[str, Question]:
    """Search once for each query, deep enough for every trial; of many, the first by name are taken."""
    side = Side(
        release=base,
        index=index,
        embed=open_query_embedder(workspace, base),
        ranker=ranker_of(base, workspace.store),
        settings=retrieval_of(base),
    )
    kind = generator_of(base, workspace.settings.generator).kind
    names = sorted(asked)[: MOST_QUESTIONS.get(kind, MOST_GENERATED)]
    return {
        name: Question(
            text=asked[name].text,
            sources=tuple(side.sources(asked[name], MOST_CHUNKS + SPARE)),
            relevant=frozenset(asked[name].relevant),
        )
        for name in names
    }


def is_generated(base: Release) -> bool:
    """Whether answers are written by a generator."""
    return bool(base.parts["generator"]["kind"] != "extractive")


@contextmanager
def _generator(settings: Settings, base: Release) -> Iterator[Generator | None]:
    if not is_generated(base):
        yield None
        return
    workspace = open_workspace(settings)
    generator = open_generator(generator_of(base, settings.generator), os.environ, workspace.model_path)
    try:
        yield generator
    finally:
        generator.close()
        workspace.ledger.close()
