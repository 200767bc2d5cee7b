"""What takes long is asked once: who wants to know meanwhile waits for the same answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Questions that are under way, by what tells them apart. Belongs to one event loop."""

    def __init__(self) -> None:
        self._asking: dict[K, asyncio.Task[T]] = {}

    async def answer(self, key: K, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What comes of the question, or its error. Who stops waiting takes it from nobody: it goes on."""
        return await asyncio.shield(self._begun(key, ask))

    def begin(self, key: K, ask: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Ask, unless that is under way, and do not wait: `ask` keeps what comes of it."""
        self._begun(key, ask)

    def _begun(self, key: K, ask: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(ask())
            asking.add_done_callback(partial(self._told, key))
        return asking

    def _told(self, key: K, asking: asyncio.Task[T]) -> None:
        del self._asking[key]
        if not asking.cancelled():
            asking.exception()  # it has been seen: if nobody waits for it now, whoever asks next hears of it
