"""Waiting on an event loop for what the ledger's thread does."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def committed(write: Future[T]) -> T:
    """What came of a write. As `asyncio.wrap_future`, without its second turn of the loop, a fifth of the way back; and
    who stops waiting does not take the write back."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not told.done():
            told.set_result(None)

    def done(_: Future[T]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell)

    write.add_done_callback(done)
    await told
    return write.result()
