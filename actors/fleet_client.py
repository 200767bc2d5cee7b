"""The gateway's side of the fleet: one question for all who want to know, in threads that nothing else waits for."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.names import FLEET
from kaizen.single_flight import SingleFlight

READY_SECONDS = 2.0
STATUS_SECONDS = 10.0
Said = dict[str, Any]


class FleetClient:
    """Belongs to one event loop. A fleet that does not answer says so of itself, as if it were one of its actors.

    Args:
        threads: a question that the fleet does not answer holds one of them for seconds.
    """

    def __init__(self, namespace: str, threads: Executor) -> None:
        self._namespace = namespace
        self._threads = threads
        self._asking: SingleFlight[tuple[str, str | None], Said] = SingleFlight()

    async def states(self, stable: str | None) -> Said:
        """State of every actor that a release needs; see `Fleet.states`."""
        releases = None if stable is None else [stable]
        return await self._asking.answer(("states", stable), partial(self._ask, "states", READY_SECONDS, releases))

    async def status(self) -> Said:
        """See `Fleet.status`."""
        return await self._asking.answer(("status", None), partial(self._ask, "status", STATUS_SECONDS))

    async def wake(self) -> None:
        """The rollout has changed. Not shared: the fleet may have heard an earlier call before this change was made."""
        await self._ask("wake", READY_SECONDS)

    async def _ask(self, what: str, seconds: float, *arguments: object) -> Said:
        call = partial(self._call, what, seconds, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _call(self, what: str, seconds: float, *arguments: object) -> Said:
        try:
            fleet = ray.get_actor(FLEET, namespace=self._namespace)
            said: Said = ray.get(getattr(fleet, what).remote(*arguments), timeout=seconds)
        except (RayError, GetTimeoutError, ValueError):
            return {FLEET: "not answering"}
        return said
