"""Logs what was shown, and checks that each stage of it was the work of the releases that are named."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from kaizen.records import Impression, Principal
from kaizen.retrieval.fusion import Mode
from serve_apps.arms import UNAVAILABLE, Outcome
from serve_apps.impression_log import ImpressionLog
from serve_apps.metrics import Metrics
from serve_apps.places import Found
from serve_apps.rollout_router import Assigned
from serve_apps.stopwatch import Stopwatch

log = logging.getLogger("kaizen.recorder")

UNSEEN = "-shadow"  # how the id of an impression ends that nobody saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: who asks what for whom, and what it holds to its end. `id`, `text`, `mode` and `hurried` will be its
    impression's."""

    id: str
    kind: Literal["search", "answer"]
    text: str
    mode: Mode
    principal: Principal
    user: str
    assigned: Assigned
    hurried: bool

    def unseen(self) -> Asked:
        """The same once more, by the challenger, for nobody's eyes."""
        challenger = self.assigned.shadow
        assert challenger is not None  # noqa: S101 (the caller looked)
        assigned = Assigned(served=challenger, arm="shadow", rollout=self.assigned.rollout, stable=challenger)
        return replace(self, id=self.id + UNSEEN, assigned=assigned)


class Recorder:
    """Writes impressions."""

    def __init__(self, impressions: ImpressionLog, metrics: Metrics) -> None:
        self._impressions = impressions
        self._metrics = metrics

    async def record(self, asked: Asked, outcome: Outcome, watch: Stopwatch, answer: str | None = None) -> list[str]:
        """Record what is shown. Returns what the response must call degraded: when the ledger cannot take it, reading
        goes on, and nobody can judge what was shown."""
        impression = _impression(asked, outcome, watch, answer)
        self._metrics.arm(impression.arm)
        self._check(asked.assigned, outcome)
        degraded = list(impression.degraded)
        with watch.stage("log"):
            write = self._impressions.submit(impression)
            if write is not None and not await self._impressions.stored(write):
                degraded.append("impression-not-recorded")
        if impression.arm != "shadow":
            self._metrics.stages(watch.timings_ms(), degraded)
        return degraded

    @asynccontextmanager
    async def failures(self, asked: Asked) -> AsyncIterator[None]:
        """Record of unseen work that it failed, and let the error go on: who judges the challenger must know."""
        try:
            yield
        except Exception:
            found = Found(places=(), index_seq=0, coverage=0.0, degraded=(UNAVAILABLE,), used={})
            outcome = Outcome(found=found, served=asked.assigned.served, arm="shadow")
            await self.record(asked, outcome, Stopwatch())
            raise

    def _check(self, assigned: Assigned, outcome: Outcome) -> None:
        """A response that two releases had a hand in, and does not say so, must be seen."""
        parts = {
            served.release.id: served for served in (assigned.stable, assigned.served, assigned.challenger) if served
        }
        for name, used in outcome.found.used.items():
            for stage in parts[name].mixed(used):
                log.error("%s of release %s was the work of %s", stage, name, used[stage])
                self._metrics.mixed(stage)


def _impression(asked: Asked, outcome: Outcome, watch: Stopwatch, answer: str | None) -> Impression:
    found = outcome.found
    return Impression(
        id=asked.id,
        at=time.time(),
        tenant=asked.principal.tenant,
        key_id=asked.principal.key_id,
        release=outcome.served.release.id,
        index_seq=found.index_seq,
        kind=asked.kind,
        query=asked.text,
        mode=asked.mode,
        shown=tuple(place.shown(position) for position, place in enumerate(found.places, start=1)),
        answer=answer,
        coverage=found.coverage,
        degraded=found.degraded,
        timings_ms=watch.timings_ms(),
        user=asked.user,
        arm="shadow" if asked.assigned.arm == "shadow" else outcome.arm,
        rollout=asked.assigned.rollout,
        challenger=outcome.challenger,
        hurried=asked.hurried,
    )
