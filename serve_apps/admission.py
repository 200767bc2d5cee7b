"""The bounded queue of one replica: so many requests at work, so many waiting, the rest are told when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaizen.errors import Overloaded


class Admission:
    """Admits `ongoing` requests at a time and lets `queued` more wait; belongs to one event loop."""

    def __init__(self, *, ongoing: int, queued: int) -> None:
        self._slots = asyncio.Semaphore(ongoing)
        self._queued = queued
        self.waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a place while the request is worked on; raises Overloaded at once when the queue is full."""
        if self._slots.locked() and self.waiting >= self._queued:
            raise Overloaded("Too many requests are waiting.", advice="Try again after the time in Retry-After.")
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._slots.release()
