"""A question's path through the gateway: search, then compose in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, replace
from functools import partial

from actors.generator_client import GeneratorCall
from kaizen.answering.answer import Answer, Delta, Final
from kaizen.answering.source import Source
from kaizen.config import Settings
from kaizen.records import Principal
from kaizen.retrieval.fusion import Mode
from serve_apps.arms import Arms, Outcome
from serve_apps.places import Found
from serve_apps.rollout_router import Assigned
from serve_apps.schemas import AnswerRequest, CitationReply
from serve_apps.searching import Query
from serve_apps.served import SHORT, Served
from serve_apps.stopwatch import Stopwatch

MODE: Mode = "hybrid"  # of the search for sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer, the places that it was made from, and how long it took."""

    outcome: Outcome
    answer: Answer
    watch: Stopwatch

    @property
    def citations(self) -> list[CitationReply]:
        """Each citation with the passage that bears the answer out."""
        by_chunk = {source.chunk_id: source for source in _sources(self.outcome.found)}
        return [
            CitationReply(
                number=c.number,
                chunk_id=c.chunk_id,
                document_id=c.document_id,
                title=by_chunk[c.chunk_id].title,
                start=c.start,
                end=c.end,
                text=by_chunk[c.chunk_id].text[c.start : c.end],
            )
            for c in self.answer.citations
        ]


class Answerer:
    """Answers questions under whatever release it is handed. An answer is of one release alone, never interleaved."""

    def __init__(self, settings: Settings, arms: Arms) -> None:
        self._settings = settings
        self._arms = arms
        # One for each request that may be at work, which waits for a generator most of its time, and one for unseen
        # work: nobody waits for a thread, because whoever hangs up keeps their place until theirs is back.
        threads = settings.server.max_ongoing_requests + 1
        self._composing = ThreadPoolExecutor(threads, thread_name_prefix="compose")

    async def events(
        self, assigned: Assigned, principal: Principal, request: AnswerRequest, *, generate: bool = True
    ) -> AsyncGenerator[Delta | Answered, None]:
        """Pieces of the generator's text as they come, then the answer, which counts.

        Args:
            generate: whether the release's generator may be asked; without it the answer is an extract.
        """
        watch = Stopwatch()
        began, seconds = time.monotonic(), request.timeout_seconds or self._settings.answering.timeout_seconds
        query = partial(_query, request, began, seconds)
        outcome = await self._arms.search_alone(assigned, principal, query, watch)
        served = outcome.served
        call = served.generator.call() if served.generator is not None and generate else None
        found = outcome.found
        events = served.composer.events(
            request.question, _sources(found), call, deadline=began + seconds, partial=found.coverage < 1
        )
        with watch.stage("answer"):
            async with aclosing(_in_thread(events, self._composing, call)) as steps:
                async for event in steps:
                    if isinstance(event, Delta):
                        yield event
                    else:
                        final = event
        used = {"prompt": served.opened["prompt"]}
        if call is not None and call.fingerprint:
            used["generator"] = call.fingerprint[:SHORT]
        outcome = replace(outcome, found=_with(found, final.answer.degraded, served.release.id, used))
        yield Answered(outcome=outcome, answer=final.answer, watch=watch)


def _query(request: AnswerRequest, began: float, seconds: float, served: Served) -> Query:
    """Retrieval gets its own, shorter deadline: a shard that hangs must leave time for an answer."""
    return Query(
        text=request.question,
        mode=MODE,
        unit="chunk",
        k=request.k or served.answering.chunks,
        condition=request.filter,
        min_seq=request.min_seq,
        deadline=began + min(seconds, served.retrieval.timeout_seconds),
    )


def _with(found: Found, degraded: Sequence[str], release: str, used: Mapping[str, str]) -> Found:
    return replace(
        found,
        degraded=(*found.degraded, *degraded),
        used={**found.used, release: {**found.used[release], **used}},
    )


def _sources(found: Found) -> list[Source]:
    return [
        Source(
            chunk_id=place.chunk_id,
            document_id=place.document_id,
            title=place.item.text["title"],
            text=place.item.text["text"],
            score=place.item.score,
            cosine=place.item.cosine,
        )
        for place in found.places
        if place.item.text is not None
    ]


async def _in_thread(
    events: Generator[Delta | Final, None, None], pool: ThreadPoolExecutor, call: GeneratorCall | None
) -> AsyncGenerator[Delta | Final, None]:
    """Pull a blocking iterator from a thread, one item at a time, so that it goes no faster than it is read.

    Where the reader hangs up, the generator is told, and the thread is waited for: it must not be missing afterwards.
    """
    loop = asyncio.get_running_loop()
    with closing(events):
        while True:
            step = loop.run_in_executor(pool, next, events, None)
            try:
                event = await asyncio.shield(step)
            except asyncio.CancelledError:
                if call is not None:
                    call.stop()
                await _end_of(step)
                raise
            if event is None:
                return
            yield event


async def _end_of(step: asyncio.Future[Delta | Final | None]) -> None:
    """Wait until a thread is back, however often the waiting is cancelled. What came of it is nobody's any more."""
    while not step.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({step})
    step.exception()
