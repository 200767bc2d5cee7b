"""A question's path through the gateway: search, then compose in a thread, then log what was shown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from kaizen.answering.answer import Answer, Composer, Delta, Final
from kaizen.answering.source import Source
from kaizen.config import Settings
from kaizen.ids import chunk_id
from kaizen.records import Principal
from serve_apps.schemas import AnswerRequest, AnswerResponse, CitationReply
from serve_apps.searching import Found, Query, Searcher
from serve_apps.served import Served
from serve_apps.stopwatch import Stopwatch


class Answerer:
    """Answers questions under whatever release it is handed."""

    def __init__(self, settings: Settings, searcher: Searcher) -> None:
        self._settings = settings
        self._searcher = searcher
        # As many as requests may be at work: each waits for a generator most of its time.
        self._composing = ThreadPoolExecutor(settings.server.max_ongoing_requests, thread_name_prefix="compose")

    async def answer(self, served: Served, principal: Principal, request: AnswerRequest) -> AnswerResponse:
        """The whole answer at once."""
        async for event in self._events(served, principal, request):
            if isinstance(event, AnswerResponse):
                return event
        raise AssertionError("the composer ends with a final answer")

    async def stream(self, served: Served, principal: Principal, request: AnswerRequest) -> AsyncIterator[str]:
        """Server-sent events: `delta` with a piece of text each, then `final` with an AnswerResponse.

        The text of `final` counts: it takes the place of the deltas when they did not stand in the sources.
        """
        async for event in self._events(served, principal, request):
            if isinstance(event, Delta):
                yield _sse("delta", json.dumps({"text": event.text}))
            else:
                yield _sse("final", event.model_dump_json())

    async def _events(
        self, served: Served, principal: Principal, request: AnswerRequest
    ) -> AsyncIterator[Delta | AnswerResponse]:
        watch = Stopwatch()
        query = self._query(served, request)
        deadline = query.deadline
        # Retrieval gets its own, shorter deadline: a shard that hangs must leave time for an answer.
        search = replace(query, deadline=min(deadline, time.monotonic() + served.retrieval.timeout_seconds))
        found = await self._searcher.search(served, principal, search, watch)
        composer = Composer(served.answering, served.generator_settings)
        events = composer.events(query.text, _sources(found), served.generator, deadline=deadline)
        with watch.stage("answer"):
            async for event in _in_thread(events, self._composing):
                if isinstance(event, Delta):
                    yield event
                else:
                    final = event
        found = replace(found, degraded=(*found.degraded, *final.answer.degraded))
        yield await self._response(served, principal, query, found, final.answer, watch)

    def _query(self, served: Served, request: AnswerRequest) -> Query:
        seconds = request.timeout_seconds or self._settings.answering.timeout_seconds
        return Query(
            text=request.question,
            mode="hybrid",
            unit="chunk",
            k=request.k or served.answering.chunks,
            condition=request.filter,
            min_seq=request.min_seq,
            deadline=time.monotonic() + seconds,
        )

    async def _response(
        self, served: Served, principal: Principal, query: Query, found: Found, answer: Answer, watch: Stopwatch
    ) -> AnswerResponse:
        impression_id, unlogged = await self._searcher.log(
            served, principal, query, found, watch, kind="answer", answer=answer.text
        )
        return AnswerResponse(
            answer=answer.text,
            citations=_citations(answer, _sources(found)),
            grounded=answer.grounded,
            support=answer.support,
            abstained=answer.abstained,
            release=served.release.id,
            index_seq=found.index_seq,
            coverage=found.coverage,
            degraded=[*found.degraded, *unlogged],
            impression_id=impression_id,
            timings_ms=watch.timings_ms(),
        )


def _sources(found: Found) -> list[Source]:
    return [
        Source(
            chunk_id=chunk_id(item.text["document_id"], item.text["ordinal"]),
            document_id=item.text["document_id"],
            title=item.text["title"],
            text=item.text["text"],
            score=item.score,
            cosine=item.cosine,
        )
        for item in found.ranked
        if item.text is not None
    ]


def _citations(answer: Answer, sources: Sequence[Source]) -> list[CitationReply]:
    """Each citation with the passage that bears the answer out."""
    by_chunk = {source.chunk_id: source for source in sources}
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
        for c in answer.citations
    ]


async def _in_thread(events: Iterator[Delta | Final], pool: ThreadPoolExecutor) -> AsyncIterator[Delta | Final]:
    """Pull a blocking iterator from a thread, one item at a time, so that it goes no faster than it is read."""
    loop = asyncio.get_running_loop()
    while (event := await loop.run_in_executor(pool, next, events, None)) is not None:
        yield event


def _sse(event: str, data: str) -> str:
    return f"event: {event}\ndata: {data}\n\n"
