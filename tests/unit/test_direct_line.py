"""The short way to an actor, over real sockets between processes and threads."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from actors import direct_line
from actors.direct_line import CONNECTIONS, DirectCaller, DirectLine, LineLost
from kaizen.errors import NotYetSearchable, Unavailable


def _answer(question: bytes, times: int, _seconds: float) -> bytes:
    return question * times


def _asked(handle: Callable[..., bytes], *questions: tuple[object, ...]) -> list[bytes]:
    async def ask() -> list[bytes]:
        with closing(DirectCaller(DirectLine(handle).address)) as caller:
            return await asyncio.gather(*(caller.ask(*question) for question in questions))

    return asyncio.run(ask())


def test_each_question_gets_its_answer() -> None:
    questions = [(bytes([65 + number]), number, 0.1) for number in range(40)]
    assert _asked(_answer, *questions) == [bytes([65 + number]) * number for number in range(40)]


def test_an_answer_may_be_large() -> None:
    assert [len(answer) for answer in _asked(_answer, (b"x" * 300_000, 30, 0.0))] == [9_000_000]


def test_our_errors_come_as_they_were_raised_and_others_as_text() -> None:
    def behind(*_: object) -> bytes:
        raise NotYetSearchable("The index is behind.", advice="Wait.")

    with pytest.raises(NotYetSearchable, match=r"The index is behind\. Wait\."):
        _asked(behind, (b"",))
    with pytest.raises(Unavailable, match="ZeroDivisionError"):
        _asked(lambda _: b"" * (1 // 0), (b"",))


def test_a_line_is_reachable_where_somebody_listens() -> None:
    line = DirectLine(lambda question: question)

    async def look() -> tuple[bool, bytes, bool]:
        with closing(DirectCaller(line.address)) as caller:
            return await caller.reachable(), await caller.ask(b"x"), await DirectCaller("kaizen-nobody").reachable()

    assert asyncio.run(look()) == (True, b"x", False)


def test_a_connection_serves_many_questions_and_there_are_only_so_many() -> None:
    threads = set()
    all_in_use = threading.Barrier(CONNECTIONS)

    def note(number: int) -> bytes:
        threads.add(threading.get_ident())
        if number > 1:
            all_in_use.wait(30)
        return b""

    async def ask() -> None:
        with closing(DirectCaller(DirectLine(note).address)) as caller:
            await caller.ask(0)
            await caller.ask(1)
            assert len(threads) == 1
            await asyncio.gather(*(caller.ask(2 + number) for number in range(2 * CONNECTIONS)))

    asyncio.run(ask())
    assert len(threads) == CONNECTIONS


def test_who_stops_waiting_gets_nobody_elses_answer() -> None:
    go_on = threading.Event()

    def slow(question: bytes) -> bytes:
        if question == b"slow":
            go_on.wait(10)
        return question

    async def ask() -> bytes:
        with closing(DirectCaller(DirectLine(slow).address)) as caller:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(caller.ask(b"slow"), 0.05)
            go_on.set()
            return await caller.ask(b"next")

    assert asyncio.run(ask()) == b"next"


def test_the_rest_of_a_question_may_follow() -> None:
    """The other end has begun by then; who needs no rest answers without it, and the next question finds no trace."""
    begun = threading.Event()

    def handle(question: bytes, rest: Callable[[], bytes] | None = None) -> bytes:
        if question == b"wrong":
            raise NotYetSearchable("The index is behind.", advice="Wait.")
        begun.set()
        return question + (rest() if rest is not None else b".")

    async def ask() -> list[bytes]:
        with closing(DirectCaller(DirectLine(handle).address)) as caller:
            rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            asked = asyncio.create_task(caller.ask(b"one", rest=rest))
            assert await asyncio.to_thread(begun.wait, 10)
            rest.set_result(b" and the rest")
            first = await asked
            with pytest.raises(NotYetSearchable):
                await caller.ask(b"wrong", rest=rest)
            assert len(caller._idle) == 1  # all of it on one connection
            return [first, await caller.ask(b"two"), await caller.ask(b"three", rest=rest)]

    assert asyncio.run(ask()) == [b"one and the rest", b"two.", b"three and the rest"]


def test_who_waits_for_the_rest_hears_that_nobody_sends_it() -> None:
    heard: list[BaseException] = []
    done = threading.Event()

    def handle(_: bytes, rest: Callable[[], bytes]) -> bytes:
        try:
            return rest()
        except OSError as error:
            heard.append(error)
            raise
        finally:
            done.set()

    async def ask() -> None:
        with closing(DirectCaller(DirectLine(handle).address)) as caller:
            never: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(caller.ask(b"?", rest=never), 0.05)
            assert not never.cancelled()  # others may wait for it, too
            assert await asyncio.to_thread(done.wait, 10)

    asyncio.run(ask())
    assert isinstance(heard[0], ConnectionResetError)


_ACTOR = """
import sys, time
from actors.direct_line import DirectLine
def handle(question, rest=None):
    return question if question != b"hang" else time.sleep(60)
line = DirectLine(handle)
print(line.address, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_is_a_lost_line_also_in_the_middle_of_a_question() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ACTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as actor:
        assert actor.stdout is not None
        address = actor.stdout.readline().strip()

        async def ask() -> None:
            with closing(DirectCaller(address)) as caller:
                assert await caller.ask(b"there?") == b"there?"
                hanging = asyncio.create_task(caller.ask(b"hang"))
                await asyncio.sleep(0)  # the question is under way
                rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                beginning = asyncio.create_task(caller.ask(b"there?", rest=rest))
                await asyncio.sleep(0)
                actor.kill()
                with pytest.raises(LineLost):
                    await hanging
                rest.set_result(b"")
                with pytest.raises(LineLost):
                    await beginning
                with pytest.raises(LineLost):
                    await caller.ask(b"there?")

        asyncio.run(ask())


def test_another_users_process_is_not_spoken_with(monkeypatch: pytest.MonkeyPatch) -> None:
    line = DirectLine(lambda question: question)
    own = os.geteuid()
    monkeypatch.setattr(direct_line.os, "geteuid", lambda: own + 1)
    with pytest.raises(LineLost):
        asyncio.run(DirectCaller(line.address).ask(b"?"))  # this end looks first
    assert not asyncio.run(DirectCaller(line.address).reachable())
    with socket.socket(socket.AF_UNIX) as stranger:  # and so does the other
        stranger.connect("\0" + line.address)
        stranger.settimeout(10)
        assert stranger.recv(1) == b""
