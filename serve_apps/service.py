"""What one gateway replica does for its callers; the routes of `api` call it and nothing else does."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from actors.fleet_client import READY_SECONDS, FleetClient
from kaizen.config import Settings
from kaizen.config_sources import mask_secrets
from kaizen.errors import KaizenError, NotFound, Unavailable
from kaizen.ids import made_at, new_id
from kaizen.records import Feedback, Principal, Release, identity_of
from kaizen.security.keys import Authenticator
from kaizen.workspace import open_workspace
from serve_apps.admission import Admission
from serve_apps.asking import Asking, check_user
from serve_apps.callers import Callers
from serve_apps.committed import committed
from serve_apps.documents import DocumentWriter
from serve_apps.entrance import Entrance
from serve_apps.exposition import Exposition
from serve_apps.impression_log import ImpressionLog
from serve_apps.indices import Indices
from serve_apps.metrics import Metrics
from serve_apps.recorder import UNSEEN
from serve_apps.replacement import Replacement
from serve_apps.rollout_router import RolloutRouter
from serve_apps.rollouts import Rollouts
from serve_apps.schemas import (
    FeedbackRequest,
    FeedbackResponse,
    ReleaseReply,
    ReleasesResponse,
    SearchRequest,
    SearchResponse,
)
from serve_apps.served import Opener, Served

# Threads that wait for actors. The ledger is read and written in others, so that no write or rollback waits behind an
# actor that does not answer. Each release of a rollout takes one until it is ready, the fleet three: for its states,
# for its status, and to be woken.
RAY_THREADS = 6
# An impression this old is in the ledger, or there is none: a spool is looked after every five seconds.
JUST_MADE_SECONDS = 20.0


class Service:
    """Parts of one replica, and the few steps that join them. `rank` as of Replacement."""

    def __init__(self, settings: Settings, rank: Callable[[], int]) -> None:
        self.settings = settings
        workspace = open_workspace(settings)
        self._ledger = workspace.ledger
        self.callers = Callers(settings, Authenticator(workspace.ledger.keys))
        opener = Opener(settings, workspace)
        self.router = RolloutRouter(workspace.ledger.rollout.state, opener.open, self._caught_up)
        self._ray_threads = ThreadPoolExecutor(RAY_THREADS, thread_name_prefix="ray")
        self._fleet = FleetClient(settings.cluster.namespace, self._ray_threads)
        self.rollouts = Rollouts(workspace, self.router, self._fleet.wake)
        self.documents = DocumentWriter(workspace, Indices(workspace.ledger, opener, self.router))
        server = settings.server
        self.admission = Admission(ongoing=server.max_ongoing_requests, queued=server.max_queued_requests)
        self._impressions = ImpressionLog(workspace.ledger, settings.spool_directory)
        self.exposition = Exposition()
        self.replacement = Replacement(lambda: workspace.ledger.stopped, rank)
        self.metrics = Metrics(self._impressions.waiting)
        self.asking = Asking(settings, workspace.ledger, self._impressions, self.router, self.metrics, self.admission)
        self.entrance = Entrance(
            self.admission,
            self.metrics,
            self.callers.with_scope("search"),
            self.search,
            retry_after=server.retry_after_seconds,
            max_bytes=server.max_body_bytes,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the rollout while the replica runs. It gets no requests before it has a release to answer with."""
        await self.router.first()
        self.entrance.open()
        gc.collect()
        gc.freeze()  # what is there by now stays: the garbage collector need not walk it with every few requests
        work = (
            self.router.follow(),
            self.asking.shadow.run(),
            self.metrics.keep_telling(),
            self._impressions.keep_up(),
        )
        running = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            self.metrics.tell()
            try:
                await self.router.close()
            finally:
                await self._impressions.close()

    async def search(self, principal: Principal, request: SearchRequest) -> SearchResponse:
        """Rank chunks for a query, when it is its turn."""
        async with self.admission.slot(search=not request.min_seq):
            return await self.asking.search(principal, request)

    async def feedback(self, principal: Principal, request: FeedbackRequest) -> FeedbackResponse:
        """Keep a judgement; durable when this returns. NotFound for an impression that the caller's tenant has not."""
        check_user(principal, request.user)
        if request.impression_id.endswith(UNSEEN):
            raise NotFound("Nobody saw this impression.", advice="Send the impression_id of a response.")
        judgement = Feedback(
            id=new_id("fb"),
            at=time.time(),
            tenant=principal.tenant,
            impression_id=request.impression_id,
            kind=request.kind,
            chunk_id=request.chunk_id,
            value=1.0 if request.kind == "click" else None if request.value is None else float(request.value),
            text=request.text,
            identity=identity_of(principal.key_id, request.user),
            idempotency_key=request.idempotency_key,
        )
        stored, created = await self._judged(judgement)
        return FeedbackResponse(feedback_id=stored.id, created=created)

    async def _judged(self, judgement: Feedback) -> tuple[Feedback, bool]:
        """Look again for what may be on its way from another gateway: whose clock may be off, so only what to say of
        an impression that does not arrive is left to clocks."""
        write = self._ledger.feedback.submit_record
        try:
            return await committed(write(judgement))
        except NotFound:
            made = _made_at(judgement.impression_id)
            if made is None:
                raise
            if not await self._impressions.arrives(judgement.tenant, judgement.impression_id):
                if abs(time.time() - made) > JUST_MADE_SECONDS:
                    raise
                raise Unavailable(
                    "This impression is not on record yet.", advice="Send the same again in some seconds."
                ) from None
        return await committed(write(judgement))

    async def releases(self) -> ReleasesResponse:
        """All releases, newest first."""
        stable, listed = await asyncio.to_thread(lambda: (self._ledger.rollout.current(), self._ledger.releases.list()))
        newest_first = sorted(listed, key=lambda release: -release.number)
        return ReleasesResponse(stable=stable, releases=[release_reply(release) for release in newest_first])

    async def status(self, principal: Principal) -> dict[str, Any]:
        """Fleet, index and ledger, for an operator."""
        fleet = await self._fleet.status()
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
        """Whether a release is in service here, every actor that it needs serves, and the ledger takes writes; other
        actors may come and go."""
        states = await self._fleet.states(self.router.stable)
        return readiness_of(self.router.ready, states, self._ledger.stopped)

    async def _caught_up(self, served: Served) -> bool:
        """Whether a release's actors serve, and its index holds what the ledger holds once they do."""
        if not await served.fan_out.serving(time.monotonic() + READY_SECONDS):
            return False
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._ray_threads, served.serving, READY_SECONDS):
            return False
        head = await asyncio.to_thread(self._ledger.documents.head)
        return await served.fan_out.reach(head, time.monotonic() + READY_SECONDS)


def readiness_of(release: bool, states: Mapping[str, Any], stopped: KaizenError | None) -> dict[str, Any]:
    """As `schemas.Readiness` has it, from the states of actors, and what stopped the ledger's writer."""
    waiting = sorted(name for name, state in states.items() if state != "serving")
    if stopped is not None:
        waiting.append(f"the ledger ({stopped.code})")
    return {"ready": release and bool(states) and not waiting, "release": release, "waiting_for": waiting}


def release_reply(release: Release) -> ReleaseReply:
    """What anybody with the scope `search` may read of a release."""
    return ReleaseReply(
        id=release.id,
        number=release.number,
        at=release.at,
        fingerprint=release.fingerprint,
        parent=release.parent,
        parts={name: {key: _shown(value) for key, value in part.items()} for name, part in release.parts.items()},
    )


def _shown(value: object) -> object:
    """An endpoint's URL may hold a password; whoever searches may read what a release is made of."""
    return mask_secrets(value) if isinstance(value, str) else value


def _made_at(name: str) -> float | None:
    """By the clock of the gateway that made it; None: it is no id of ours."""
    try:
        return made_at(name)
    except ValueError:
        return None
