"""Events that are made apart from who reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")

_making: set[asyncio.Task[object]] = set()  # a loop keeps no task that nobody else keeps


async def apart(events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same events, each made in a task of its own, which is cancelled once when the reader is; then it is not
    waited for.

    Starlette cancels who reads a stream anew in each turn of the event loop until they are gone: what they had to wait
    for would keep the loop busy all that time.
    """
    while True:
        step = asyncio.create_task(_next(events))
        _making.add(step)
        step.add_done_callback(_made)
        try:
            event = await asyncio.shield(step)
        except asyncio.CancelledError:
            step.cancel()
            raise
        if event is None:
            return
        yield event


async def _next(events: AsyncGenerator[T, None]) -> T | None:
    return await anext(events, None)


def _made(step: asyncio.Task[object]) -> None:
    _making.discard(step)
    if not step.cancelled():
        step.exception()  # it has been seen: who was to hear of it may be gone
