"""Waiting on an event loop for what the ledger's thread does."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

from kaizen.loop_thread import call_in_loop

T = TypeVar("T")


async def committed(write: Future[T]) -> T:
    """What came of a write. As `asyncio.wrap_future`, without its second turn of the loop, a fifth of the way back; and
    who stops waiting does not take the write back."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not told.done():
            told.set_result(None)

    write.add_done_callback(lambda _: call_in_loop(loop, tell))
    await told
    return write.result()
