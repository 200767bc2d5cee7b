"""The challenger's unseen work: after the response, one piece at a time, dropped when users wait for this replica."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from serve_apps.metrics import Metrics

log = logging.getLogger("kaizen.shadow")

PENDING = 16
Work = Callable[[], Awaitable[None]]


class Shadow:
    """A short queue and whoever empties it. Belongs to one event loop.

    Args:
        busy: whether users wait for this replica.
    """

    def __init__(self, metrics: Metrics, busy: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._busy = busy
        self._pending: asyncio.Queue[Work] = asyncio.Queue(PENDING)

    def offer(self, work: Work) -> None:
        """Do `work` when there is time for it, or never."""
        if self._busy() or self._pending.full():
            self._metrics.shadow("dropped")
        else:
            self._pending.put_nowait(work)

    async def run(self) -> None:
        """Work as long as the replica."""
        while True:
            work = await self._pending.get()
            try:
                await work()
                self._metrics.shadow("done")
            except Exception as error:  # noqa: BLE001 (whatever a challenger does wrong unseen, the service goes on)
                log.warning("shadow: %s: %s", type(error).__name__, error)
                self._metrics.shadow("failed")
