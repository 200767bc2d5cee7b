"""What the gateway measures of itself, through Ray's metrics, which add up all replicas on all nodes.

Noting costs next to nothing, and Ray is told of all together twice a second. Told in the middle of a request, between
other code and other data, the same nine calls take ten times as long as in a row.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from ray.util.metrics import Counter, Gauge, Histogram

_LATENCY_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
_TELL_SECONDS = 0.5


class Metrics:
    """Counters, histograms and a gauge of one replica. Belongs to its event loop.

    waiting: how many impressions are shown and not in the ledger.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting = waiting
        self._requests = Counter(
            "kaizen_requests_total", description="Requests by route and status.", tag_keys=("route", "status")
        )
        self._seconds = Histogram(
            "kaizen_request_seconds", description="Time to respond.", boundaries=_LATENCY_SECONDS, tag_keys=("route",)
        )
        self._stages = Histogram(
            "kaizen_stage_seconds", description="Time by stage.", boundaries=_LATENCY_SECONDS, tag_keys=("stage",)
        )
        self._degraded = Counter(
            "kaizen_degraded_total", description="Responses that were degraded, by reason.", tag_keys=("reason",)
        )
        self._arms = Counter("kaizen_arms_total", description="Responses by arm of the rollout.", tag_keys=("arm",))
        self._shadows = Counter(
            "kaizen_shadow_total", description="Unseen work of a challenger, by what came of it.", tag_keys=("outcome",)
        )
        self._mixed = Counter(
            "kaizen_mixed_total",
            description="Stages whose work was not of the release that the response names; there must be none.",
            tag_keys=("stage",),
        )
        self._backlog = Gauge(
            "kaizen_impressions_waiting",
            description="Impressions that are in a spool and not in the ledger yet; add the replicas up.",
        )

        self._counted: dict[tuple[Counter, tuple[tuple[str, str], ...]], int] = defaultdict(int)
        self._observed: list[tuple[Histogram, float, dict[str, str]]] = []

    def response(self, route: str, status: int, seconds: float) -> None:
        """Note a response, and how long it took to begin."""
        self._count(self._requests, route=route, status=str(status))
        self._observe(self._seconds, seconds, route=route)

    def refusal(self, route: str, status: int) -> None:
        """Note a request that was not even read; it tells nothing about the time of those that are."""
        self._count(self._requests, route=route, status=str(status))

    def stages(self, timings_ms: Mapping[str, float], degraded: Iterable[str]) -> None:
        """Note where the time of a search or an answer went, and what was replaced by something simpler."""
        for stage, spent in timings_ms.items():
            self._observe(self._stages, spent / 1000, stage=stage)
        for reason in degraded:
            self._count(self._degraded, reason=reason)

    def arm(self, arm: str) -> None:
        """Note who answered."""
        self._count(self._arms, arm=arm)

    def shadow(self, outcome: str) -> None:
        """Note what came of unseen work: done, failed or dropped."""
        self._count(self._shadows, outcome=outcome)

    def mixed(self, stage: str) -> None:
        """Note a stage that worked for another release than the response names."""
        self._count(self._mixed, stage=stage)

    async def keep_telling(self) -> None:
        """Tell Ray from time to time; runs as long as the replica."""
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            self.tell()

    def tell(self) -> None:
        """Tell Ray what was noted since the last time."""
        counted, self._counted = self._counted, defaultdict(int)
        observed, self._observed = self._observed, []
        for (counter, tags), count in counted.items():
            counter.inc(count, tags=dict(tags))
        for histogram, value, tags_of_one in observed:
            histogram.observe(value, tags=tags_of_one)
        self._backlog.set(self._waiting())

    def _count(self, counter: Counter, **tags: str) -> None:
        self._counted[counter, tuple(tags.items())] += 1

    def _observe(self, histogram: Histogram, value: float, **tags: str) -> None:
        self._observed.append((histogram, value, tags))
