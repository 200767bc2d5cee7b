"""What one gateway replica does for its callers; the routes of `api` call it and nothing else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.names import FLEET
from kaizen.config import Settings
from kaizen.errors import InvalidInput
from kaizen.ids import new_id
from kaizen.records import Feedback, Principal, Release
from kaizen.security.keys import Authenticator
from kaizen.workspace import open_workspace
from serve_apps.admission import Admission
from serve_apps.answering import Answerer
from serve_apps.callers import Callers
from serve_apps.documents import DocumentWriter
from serve_apps.explaining import hit_of
from serve_apps.metrics import Metrics
from serve_apps.rollout_router import RolloutRouter
from serve_apps.schemas import (
    AnswerRequest,
    AnswerResponse,
    FeedbackRequest,
    FeedbackResponse,
    ReleaseReply,
    ReleasesResponse,
    SearchRequest,
    SearchResponse,
)
from serve_apps.searching import Query, Searcher
from serve_apps.served import open_served
from serve_apps.stopwatch import Stopwatch

READY_SECONDS = 2.0


class Service:
    """Parts of one replica, and the few steps that join them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        workspace = open_workspace(settings)
        self._ledger = workspace.ledger
        self.callers = Callers(settings, Authenticator(workspace.ledger.keys))
        self.documents = DocumentWriter(workspace)
        self.metrics = Metrics()
        self.router = RolloutRouter(
            workspace.ledger.rollout.current, lambda release_id: open_served(settings, workspace, release_id)
        )
        self._searcher = Searcher(workspace.ledger, embedding_threads=2)
        self._answerer = Answerer(settings, self._searcher)
        server = settings.server
        self.admission = Admission(ongoing=server.max_ongoing_requests, queued=server.max_queued_requests)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the rollout while the replica runs. It gets no requests before it has a release to answer with."""
        await self.router.look()
        following = asyncio.create_task(self.router.follow())
        try:
            yield
        finally:
            following.cancel()

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResponse:
        """Rank chunks for a query."""
        watch = Stopwatch()
        self._check_k(request.k)
        served = self.router.for_caller(principal)
        query = Query(
            text=request.query,
            mode=request.mode,
            unit=request.unit,
            k=request.k,
            condition=request.filter,
            min_seq=request.min_seq,
            deadline=time.monotonic() + (request.timeout_seconds or served.retrieval.timeout_seconds),
        )
        found = await self._searcher.search(served, principal, query, watch)
        impression_id, unlogged = await self._searcher.log(served, principal, query, found, watch, kind="search")
        degraded = [*found.degraded, *unlogged]
        self.metrics.stages(watch.timings_ms(), degraded)
        return SearchResponse(
            hits=[
                hit_of(place, item, found.terms, request.explain) for place, item in enumerate(found.ranked, start=1)
            ],
            release=served.release.id,
            index_seq=found.index_seq,
            coverage=found.coverage,
            degraded=degraded,
            impression_id=impression_id,
            timings_ms=watch.timings_ms(),
        )

    async def answer(self, principal: Principal, request: AnswerRequest) -> AnswerResponse:
        """Answer a question."""
        response = await self._answerer.answer(self.router.for_caller(principal), principal, request)
        self.metrics.stages(response.timings_ms, response.degraded)
        return response

    async def answer_events(self, principal: Principal, request: AnswerRequest) -> AsyncIterator[str]:
        """Answer a question as server-sent events. What goes wrong before the first event is raised here."""
        events = self._answerer.stream(self.router.for_caller(principal), principal, request)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.admission.slot())
            first = await anext(events)
            held = stack.pop_all()

        async def all_events() -> AsyncIterator[str]:
            async with held:
                yield first
                async for event in events:
                    yield event

        return all_events()

    async def feedback(self, principal: Principal, request: FeedbackRequest) -> FeedbackResponse:
        """Keep a judgement; durable when this returns. NotFound for an impression that the caller's tenant has not."""
        judgement = Feedback(
            id=new_id("fb"),
            at=time.time(),
            tenant=principal.tenant,
            impression_id=request.impression_id,
            kind=request.kind,
            chunk_id=request.chunk_id,
            value=1.0 if request.kind == "click" else request.value,
            text=request.text,
            identity=principal.key_id,
            idempotency_key=request.idempotency_key,
        )
        stored, created = await asyncio.wrap_future(self._ledger.feedback.submit_record(judgement))
        return FeedbackResponse(feedback_id=stored.id, created=created)

    async def releases(self) -> ReleasesResponse:
        """All releases, newest first."""
        stable, listed = await asyncio.to_thread(lambda: (self._ledger.rollout.current(), self._ledger.releases.list()))
        newest_first = sorted(listed, key=lambda release: -release.number)
        return ReleasesResponse(stable=stable, releases=[_release_reply(release) for release in newest_first])

    async def status(self, principal: Principal) -> dict[str, Any]:
        """Fleet, index and ledger, for an operator."""
        fleet = await asyncio.to_thread(self._ask_fleet, "status", 10.0)
        ledger = await asyncio.to_thread(
            lambda: {
                "head": self._ledger.documents.head(),
                "documents": self._ledger.documents.count(principal.tenant),
                "impressions": self._ledger.impressions.count(principal.tenant),
                "feedback": dict(self._ledger.feedback.counts(principal.tenant)),
                "quarantined": self._ledger.quarantine.count(principal.tenant),
            }
        )
        return {"readiness": await self.readiness(), "ledger": ledger, "fleet": fleet, "router": self.router.trouble}

    async def readiness(self) -> dict[str, Any]:
        """Whether a release is in service and every actor that it needs serves."""
        states = await asyncio.to_thread(self._ask_fleet, "states", READY_SECONDS)
        waiting = sorted(name for name, state in states.items() if state != "serving")
        return {
            "ready": self.router.ready and bool(states) and not waiting,
            "release": self.router.ready,
            "waiting_for": waiting,
        }

    def _ask_fleet(self, what: str, seconds: float) -> dict[str, Any]:
        try:
            fleet = ray.get_actor(FLEET, namespace=self.settings.cluster.namespace)
            answer: dict[str, Any] = ray.get(getattr(fleet, what).remote(), timeout=seconds)
        except (RayError, GetTimeoutError, ValueError):
            return {FLEET: "not answering"}
        return answer

    def _check_k(self, k: int) -> None:
        most = self.settings.server.max_k
        if k > most:
            raise InvalidInput(f"k is {k}, and at most {most} results are given.", advice=f"Ask for at most {most}.")


def _release_reply(release: Release) -> ReleaseReply:
    return ReleaseReply(
        id=release.id,
        number=release.number,
        at=release.at,
        fingerprint=release.fingerprint,
        parent=release.parent,
        parts={name: dict(part) for name, part in release.parts.items()},
    )
