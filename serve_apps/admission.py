"""The bounded queue of one replica: so many requests at work, so many waiting, the rest are told when to come back.

A queue absorbs a burst. Once it overflows this is no burst, and a queue that stands only makes everybody late: as long
as requests have to be refused, nobody waits, and no more searches are let in than come out in good time (`Pace`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kaizen.errors import Overloaded

# Without a refusal for so long the rush is over.
RUSH_SECONDS = 1.0
# In a rush half of the searches may take longer than this multiple of what one takes when few are at work.
TOLERANCE = 2.0
FEW = 2
# How fast the time of a search when few are at work follows what is measured.
STEP = 0.05


class Pace:
    """How many searches may be at work at a time while others are refused: between 1 and `most`."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = self._most
        self._rush_ends = float("-inf")
        self._calm_seconds = 0.0

    def refused(self, now: float) -> None:
        """Somebody had to be refused."""
        if not self.rush(now):
            self._limit = min(self._most, FEW)
        self._rush_ends = now + RUSH_SECONDS

    def rush(self, now: float) -> bool:
        """Whether somebody was refused a moment ago."""
        return now < self._rush_ends

    def full(self, at_work: int, now: float) -> bool:
        """Whether there is a rush, and enough are at work."""
        return self.rush(now) and at_work >= int(self._limit)

    def took(self, seconds: float, at_work: int, now: float) -> None:
        """A search took so long; `at_work` were, itself included, when it ended."""
        if at_work <= FEW and not (self.rush(now) and self._calm_seconds):  # in a rush even few are slow
            below = seconds < self._calm_seconds
            self._calm_seconds = self._calm_seconds * (1 - STEP if below else 1 + STEP) or seconds
        if self.rush(now) and self._calm_seconds:
            good = seconds <= TOLERANCE * self._calm_seconds
            self._limit = min(self._most, max(1.0, self._limit + (1 if good else -1) / self._limit))


@dataclass(frozen=True, slots=True)
class _Place:
    """In the queue. `granted` is resolved when it is this one's turn."""

    granted: asyncio.Future[None]
    search: bool


class Admission:
    """Admits `ongoing` requests at a time and lets `queued` more wait; belongs to one event loop."""

    def __init__(self, *, ongoing: int, queued: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ongoing = ongoing
        self._queued = queued
        self._clock = clock
        self._pace = Pace(ongoing)
        self._at_work = 0
        self._searches = 0  # of those at work, the ones that wait for nothing but the machine
        self._line: deque[_Place] = deque()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(not place.granted.done() for place in self._line)

    def free(self) -> bool:
        """Whether who came now would get a slot at once."""
        return self._at_work < self._ongoing

    def rush(self) -> bool:
        """Whether a search that came now would be refused because of a rush; it need not even be read."""
        now = self._clock()
        full = self._pace.full(self._searches, now)
        if full:
            self._pace.refused(now)
        return full

    @asynccontextmanager
    async def slot(self, *, search: bool = False) -> AsyncIterator[None]:
        """Hold a place while the request is worked on; raises Overloaded at once when there is none.

        Args:
            search: a search that need not wait for changes, whose time tells how busy the machine is.
        """
        if search and self.rush():
            raise overloaded()
        await self._enter(search)
        began = self._clock()
        self._searches += search
        try:
            yield
        finally:
            if search:
                now = self._clock()
                self._pace.took(now - began, self._searches, now)
                self._searches -= 1
            self._leave()

    async def _enter(self, search: bool) -> None:
        if self.free():
            self._at_work += 1
            return
        if self.waiting >= self._queued:
            self._overflow()
            raise overloaded()
        place = _Place(asyncio.get_running_loop().create_future(), search)
        self._line.append(place)
        try:
            await place.granted
        except asyncio.CancelledError:
            if not place.granted.cancelled() and place.granted.exception() is None:
                self._leave()  # it got the place in the same moment
            raise

    def _leave(self) -> None:
        """Hand the place on to the first in the queue who still wants it."""
        while self._line:
            place = self._line.popleft()
            if not place.granted.done():
                place.granted.set_result(None)
                return
        self._at_work -= 1

    def _overflow(self) -> None:
        """A rush begins, or goes on: searches that wait would come out late, and are better told so now."""
        self._pace.refused(self._clock())
        for place in self._line:
            if place.search and not place.granted.done():
                place.granted.set_exception(overloaded())


def overloaded() -> Overloaded:
    """What is raised, or answered, where there is no place."""
    return Overloaded("Too many requests are waiting.", advice="Try again after the time in Retry-After.")
