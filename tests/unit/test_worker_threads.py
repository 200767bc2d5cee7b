"""Threads that work for an event loop, and the loop that hears of it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from serve_apps.worker_threads import Outcome, WorkerThreads

PATIENCE = 10


def _named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_the_loop_hears_what_came_of_each_call() -> None:
    async def run() -> list[Outcome[int]]:
        loop, threads = asyncio.get_running_loop(), WorkerThreads(2, "tried")
        heard: list[asyncio.Future[Outcome[int]]] = [loop.create_future() for _ in range(3)]
        for number, future in enumerate(heard):
            threads.call(lambda number=number: 10 // number, future.set_result)  # type: ignore[misc]
        return await asyncio.gather(*heard)

    failed, *rest = asyncio.run(run())
    assert isinstance(failed.error, ZeroDivisionError)
    assert rest == [Outcome(10, None), Outcome(5, None)]


def test_as_many_calls_as_threads_go_on_together() -> None:
    both = threading.Barrier(2)

    async def run() -> None:
        loop, threads = asyncio.get_running_loop(), WorkerThreads(2, "together")
        heard: list[asyncio.Future[Outcome[int]]] = [loop.create_future() for _ in range(2)]
        for future in heard:
            threads.call(lambda: both.wait(PATIENCE), future.set_result)
        outcomes = await asyncio.gather(*heard)
        assert [outcome.error for outcome in outcomes] == [None, None]

    asyncio.run(run())


def test_a_loop_that_has_ended_is_told_nothing_and_the_thread_goes_on() -> None:
    go_on, threads = threading.Event(), WorkerThreads(1, "outlasting")

    async def leave() -> None:
        threads.call(lambda: go_on.wait(PATIENCE), lambda _: pytest.fail("nobody is there"))

    async def come_later() -> Outcome[str]:
        future: asyncio.Future[Outcome[str]] = asyncio.get_running_loop().create_future()
        threads.call(lambda: "there", future.set_result)
        return await future

    asyncio.run(leave())
    go_on.set()
    assert asyncio.run(come_later()).value == "there"


def test_threads_end_with_who_holds_them_and_keep_nothing() -> None:
    class Model:
        def embed(self) -> None: ...

    async def run(threads: WorkerThreads) -> weakref.ref[Model]:
        future: asyncio.Future[Outcome[None]] = asyncio.get_running_loop().create_future()
        model = Model()
        threads.call(model.embed, future.set_result)
        await future
        return weakref.ref(model)

    threads = WorkerThreads(1, "ending")
    (thread,) = _named("ending")
    gone = asyncio.run(run(threads))
    gc.collect()
    assert gone() is None
    del threads
    thread.join(PATIENCE)
    assert not thread.is_alive()
