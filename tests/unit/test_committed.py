"""Waiting on an event loop for another thread's future."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from kaizen.errors import StorageFull
from serve_apps.committed import committed


def _later(work: Future[int], end: threading.Event) -> None:
    def run() -> None:
        end.wait(10)
        work.set_result(7)

    threading.Thread(target=run).start()


def test_what_came_of_a_write_arrives() -> None:
    async def run() -> int:
        write, end = Future[int](), threading.Event()
        _later(write, end)
        waiting = asyncio.create_task(committed(write))
        await asyncio.sleep(0)
        end.set()
        return await waiting

    assert asyncio.run(run()) == 7


def test_one_that_was_over_before_and_one_that_failed() -> None:
    done, failed = Future[int](), Future[int]()
    done.set_result(1)
    failed.set_exception(StorageFull("The disk is full.", advice="Make room."))
    assert asyncio.run(committed(done)) == 1
    with pytest.raises(StorageFull):
        asyncio.run(committed(failed))


def test_who_stops_waiting_takes_nothing_back_and_a_loop_that_has_ended_is_left_alone() -> None:
    write = Future[int]()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(committed(write), 0.01)

    asyncio.run(run())
    assert not write.cancelled()
    write.set_result(1)
