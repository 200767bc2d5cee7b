"""Searches and answers from the first step to the last: assign, search, compose, record, respond, and shadow."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from kaizen.answering.answer import Delta
from kaizen.config import Settings
from kaizen.errors import InvalidInput, NotAllowed, Unavailable
from kaizen.ids import new_id
from kaizen.records import Principal
from kaizen.retrieval.fusion import Mode
from kaizen.storage.ledger import Ledger
from serve_apps.admission import Admission
from serve_apps.answering import MODE as ANSWER_MODE
from serve_apps.answering import Answered, Answerer
from serve_apps.apart import apart
from serve_apps.arms import Arms, Outcome
from serve_apps.explaining import hit_of
from serve_apps.impression_log import ImpressionLog
from serve_apps.ledger_reads import LedgerReads
from serve_apps.metrics import Metrics
from serve_apps.query_batches import QueryBatches
from serve_apps.recorder import Asked, Recorder
from serve_apps.rollout_router import RolloutRouter
from serve_apps.schemas import AnswerRequest, AnswerResponse, SearchRequest, SearchResponse
from serve_apps.searching import Query, Searcher
from serve_apps.served import Served
from serve_apps.shadow import Shadow
from serve_apps.stopwatch import Stopwatch

# While one encoder works for the stable release, the challenger's may as well.
EMBEDDING_THREADS = 2


class Asking:
    """What one replica does with a query or a question."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        impressions: ImpressionLog,
        router: RolloutRouter,
        metrics: Metrics,
        admission: Admission,
    ) -> None:
        self._max_k = settings.server.max_k
        self._answer_seconds = settings.answering.timeout_seconds
        self._ledger = ledger
        self._reads = LedgerReads()
        self._head = 0  # as last read; it only grows
        self._router = router
        self._admission = admission
        self._arms = Arms(Searcher(ledger, QueryBatches(EMBEDDING_THREADS)), settings.learning.explore_share)
        self._answerer = Answerer(settings, self._arms)
        self._recorder = Recorder(impressions, metrics)
        self.shadow = Shadow(metrics, lambda: admission.waiting > 0)

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResponse:
        """Rank chunks for a query."""
        self._check_k(request.k)
        await self._check_seq(request.min_seq)
        watch = Stopwatch()
        asked = self._asked(principal, request, "search", request.query, request.mode)
        query = partial(_query, request, time.monotonic(), request.timeout_seconds)
        outcome = await self._arms.search(asked.assigned, principal, query, watch, asked.id)
        degraded = await self._recorder.record(asked, outcome, watch)
        drafted = outcome.arm == "interleaved"
        hits = [
            hit_of(position, place, request.explain, drafted)
            for position, place in enumerate(outcome.found.places, start=1)
        ]
        if asked.assigned.shadow is not None:
            self.shadow.offer(partial(self._search_unseen, asked.unseen(), request))
        return SearchResponse(hits=hits, **_envelope(asked, outcome, degraded, watch, request.explain))

    async def answer(self, principal: Principal, request: AnswerRequest) -> AnswerResponse:
        """Answer a question."""
        async with aclosing(self._answer(principal, request)) as events:
            async for event in events:
                if isinstance(event, AnswerResponse):
                    return event
        raise AssertionError("the composer ends with a final answer")

    async def answer_events(self, principal: Principal, request: AnswerRequest) -> AsyncIterator[str]:
        """Server-sent events: `delta` with a piece of text each, then `final` with an AnswerResponse.

        The text of `final` counts: it takes the place of the deltas when they did not stand in the sources. What goes
        wrong before the first event is raised here.
        """

        async def all_events() -> AsyncGenerator[str, None]:
            async with self._admission.slot(), aclosing(self._answer(principal, request)) as events:
                first = await anext(events)
                yield ""
                yield _sse(first)
                async for event in events:
                    yield _sse(event)

        # Begun here: so it also ends, and gives its place back, where the caller hangs up before reading.
        begun = apart(all_events())
        await anext(begun)
        return begun

    async def _answer(
        self, principal: Principal, request: AnswerRequest
    ) -> AsyncGenerator[Delta | AnswerResponse, None]:
        await self._check_seq(request.min_seq)
        asked = self._asked(principal, request, "answer", request.question, ANSWER_MODE)
        async with aclosing(self._answerer.events(asked.assigned, principal, request)) as events:
            async for event in events:
                yield event if isinstance(event, Delta) else await self._respond(asked, request, event)

    async def _respond(self, asked: Asked, request: AnswerRequest, event: Answered) -> AnswerResponse:
        outcome, answer = event.outcome, event.answer
        nothing = outcome.found.coverage == 0  # was looked at; who judges the release must see it all the same
        text = None if nothing else answer.text
        degraded = await self._recorder.record(asked, outcome, event.watch, text)
        if nothing:
            raise Unavailable(
                "Nothing of the documents could be read in time.",
                advice="Try again after the time in Retry-After, or allow more time.",
            )
        if asked.assigned.shadow is not None:
            self.shadow.offer(partial(self._answer_unseen, asked, request))
        return AnswerResponse(
            answer=answer.text,
            citations=event.citations,
            grounded=answer.grounded,
            support=answer.support,
            abstained=answer.abstained,
            **_envelope(asked, outcome, degraded, event.watch, request.explain),
        )

    async def _search_unseen(self, asked: Asked, request: SearchRequest) -> None:
        """What the challenger would have shown, in the time that it takes for itself."""
        watch, query = Stopwatch(), partial(_query, request, time.monotonic(), None)
        asked = replace(asked, hurried=False)
        async with self._recorder.failures(asked):
            outcome = await self._arms.search_alone(asked.assigned, asked.principal, query, watch)
        await self._recorder.record(asked, outcome, watch)

    async def _answer_unseen(self, seen: Asked, request: AnswerRequest) -> None:
        """What the challenger would have answered. A generator that it shares with the stable release is left to the
        users, who would wait for it; then only what it was to read is recorded."""
        asked, stable = seen.unseen(), seen.assigned.stable
        mine, theirs = asked.assigned.served.generator, stable.generator
        shared = mine is not None and theirs is not None and mine.fingerprint == theirs.fingerprint
        async with self._recorder.failures(asked):
            async for event in self._answerer.events(asked.assigned, asked.principal, request, generate=not shared):
                if isinstance(event, Answered):
                    answered = event
        text = None if shared else answered.answer.text
        await self._recorder.record(asked, answered.outcome, answered.watch, text)

    def _asked(
        self,
        principal: Principal,
        request: SearchRequest | AnswerRequest,
        kind: Literal["search", "answer"],
        text: str,
        mode: Mode,
    ) -> Asked:
        check_user(principal, request.user)
        name = new_id("imp")
        assigned = self._router.for_caller(principal, request.user, name)
        usual = assigned.stable.retrieval.timeout_seconds if kind == "search" else self._answer_seconds
        hurried = request.timeout_seconds is not None and request.timeout_seconds < usual
        return Asked(
            id=name,
            kind=kind,
            text=text,
            mode=mode,
            principal=principal,
            user=request.user,
            assigned=assigned,
            hurried=hurried,
        )

    def _check_k(self, k: int) -> None:
        if k > self._max_k:
            raise InvalidInput(
                f"k is {k}, and at most {self._max_k} results are given.", advice=f"Ask for at most {self._max_k}."
            )

    async def _check_seq(self, seq: int) -> None:
        """A change that the ledger does not hold is not worth waiting for: it would hold a place in the queue."""
        if seq > self._head:
            self._head = await self._reads.of(self._ledger.documents.head)
        if seq > self._head:
            raise InvalidInput(
                f"There is no change {seq} yet: the last one is {self._head}.",
                advice="Send as min_seq the seq that a write responded with.",
            )


def check_user(principal: Principal, user: str) -> None:
    """Only a key that may speak for others names a user; raises NotAllowed."""
    if user and "delegate" not in principal.scopes:
        raise NotAllowed(
            "This key has not the scope 'delegate' and cannot name a user.",
            advice="Leave `user` out, or make a key that has it: kaizen keys create --scope delegate.",
        )


def _query(request: SearchRequest, began: float, seconds: float | None, served: Served) -> Query:
    """`seconds`: None: as many as the release takes for itself."""
    return Query(
        text=request.query,
        mode=request.mode,
        unit=request.unit,
        k=request.k,
        condition=request.filter,
        min_seq=request.min_seq,
        deadline=began + (seconds or served.retrieval.timeout_seconds),
    )


def _envelope(asked: Asked, outcome: Outcome, degraded: list[str], watch: Stopwatch, explain: bool) -> dict[str, Any]:
    """What every response says of itself."""
    found = outcome.found
    return {
        "release": outcome.served.release.id,
        "challenger": outcome.challenger if outcome.arm == "interleaved" else None,
        "index_seq": found.index_seq,
        "coverage": found.coverage,
        "degraded": degraded,
        "impression_id": asked.id,
        "timings_ms": watch.timings_ms(),
        "fingerprints": {name: dict(used) for name, used in found.used.items()} if explain else None,
    }


def _sse(event: Delta | AnswerResponse) -> str:
    if isinstance(event, Delta):
        return f"event: delta\ndata: {json.dumps({'text': event.text})}\n\n"
    return f"event: final\ndata: {event.model_dump_json()}\n\n"
