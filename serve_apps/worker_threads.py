"""Threads that work for an event loop. What an executor does around a call takes three times as long as this.

Where the threads had slept for eight milliseconds, as they do between two searches, the way to them and back takes
175 us through `run_in_executor`, with its future for other threads beside the loop's own, and 65 us here.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from kaizen.loop_thread import call_in_loop

T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """What came of a call: its value, or the error that it raised."""

    value: T | None
    error: Exception | None


class _Call(NamedTuple):
    work: Callable[[], Any]
    done: Callable[[Outcome[Any]], None]
    loop: asyncio.AbstractEventLoop


_Queue = queue.SimpleQueue[_Call | None]


class WorkerThreads:
    """So many threads; they end when nobody holds this any more."""

    def __init__(self, threads: int, name: str) -> None:
        self._queue: _Queue = queue.SimpleQueue()
        for number in range(threads):
            threading.Thread(target=_run, args=(self._queue,), name=f"{name}_{number}", daemon=True).start()
        weakref.finalize(self, _end, self._queue, threads)

    def call(self, work: Callable[[], T], done: Callable[[Outcome[T]], None]) -> None:
        """Do `work` in the next thread that is free; then the running loop calls `done`, unless it has ended."""
        self._queue.put(_Call(work, done, asyncio.get_running_loop()))


def _run(calls: _Queue) -> None:
    while (call := calls.get()) is not None:
        try:
            outcome = Outcome(call.work(), None)
        except Exception as error:  # noqa: BLE001 (`done` hears of it)
            outcome = Outcome(None, error)
        call_in_loop(call.loop, partial(call.done, outcome))
        del call, outcome  # while it waits it holds nobody's model


def _end(calls: _Queue, threads: int) -> None:
    for _ in range(threads):
        calls.put(None)
