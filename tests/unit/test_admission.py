"""The queue of a replica: a burst waits, a rush is refused, and what is let in meanwhile comes out in good time."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from kaizen.errors import Overloaded
from serve_apps.admission import RUSH_SECONDS, Admission, Pace

CALM = 0.010


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pace_after(seconds: float, searches: int, most: int = 32) -> int:
    """How many may be at work in a rush after so many searches took so long."""
    pace = Pace(most)
    for _ in range(50):
        pace.took(CALM, 1, 0.0)
    pace.refused(0.0)
    for number in range(searches):
        pace.took(seconds, most, 0.001 * number % RUSH_SECONDS)
    return next(count for count in range(most + 1) if count == most or pace.full(count, 0.0))


def test_the_pace_follows_the_time_that_searches_take() -> None:
    assert pace_after(CALM, 0) == 2
    assert pace_after(1.5 * CALM, 200) > 10
    assert pace_after(1.5 * CALM, 2000) == 32
    assert pace_after(3 * CALM, 200) == 1


def test_a_pace_that_never_saw_calm_finds_it_when_few_are_at_work() -> None:
    pace = Pace(32)
    pace.refused(0.0)
    for _ in range(100):
        pace.took(CALM, 2, 0.5)
    assert not pace.full(5, 0.5)


def test_a_rush_is_over_when_nobody_was_refused_for_a_moment() -> None:
    pace = Pace(32)
    pace.refused(0.0)
    assert pace.full(2, RUSH_SECONDS / 2)
    assert not pace.full(31, RUSH_SECONDS)


async def _burst(admission: Admission, requests: int, search: bool) -> Counter[str]:
    """So many at once; how each fared."""
    go = asyncio.Event()

    async def one() -> str:
        try:
            async with admission.slot(search=search):
                await go.wait()
        except Overloaded:
            return "refused"
        return "done"

    running = [asyncio.create_task(one()) for _ in range(requests)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    go.set()
    return Counter(await asyncio.gather(*running))


@pytest.mark.parametrize("search", [False, True])
def test_a_burst_waits(search: bool) -> None:
    assert asyncio.run(_burst(Admission(ongoing=2, queued=3), 5, search)) == {"done": 5}


def test_too_many_that_wait_for_changes_are_refused_one_by_one() -> None:
    assert asyncio.run(_burst(Admission(ongoing=2, queued=3), 9, search=False)) == {"done": 5, "refused": 4}


def test_in_a_rush_no_search_waits() -> None:
    assert asyncio.run(_burst(Admission(ongoing=2, queued=3), 9, search=True)) == {"done": 2, "refused": 7}


def test_after_a_rush_the_queue_is_as_long_as_before() -> None:
    clock = Clock()

    async def twice() -> tuple[Counter[str], bool, Counter[str]]:
        admission = Admission(ongoing=2, queued=3, clock=clock)
        first = await _burst(admission, 9, search=True)
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(admission.slot(search=True))
            rush = admission.rush()
        clock.now += 2 * RUSH_SECONDS
        return first, rush, await _burst(admission, 5, search=True)

    assert asyncio.run(twice()) == ({"done": 2, "refused": 7}, True, {"done": 5})


def test_who_goes_away_while_waiting_leaves_the_place_to_the_next() -> None:
    async def run() -> tuple[int, int]:
        admission = Admission(ongoing=1, queued=2)

        async def pass_through() -> None:
            async with admission.slot():
                pass

        async with admission.slot():
            waiting = asyncio.create_task(pass_through())
            await asyncio.sleep(0)
            held = admission.waiting
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await asyncio.sleep(0)
            left = admission.waiting
        async with admission.slot():
            return held, left

    assert asyncio.run(asyncio.wait_for(run(), 5)) == (1, 0)
