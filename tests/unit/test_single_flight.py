"""What takes long is asked once for all who want to know meanwhile."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from kaizen.single_flight import SingleFlight


class Slow:
    """Answers when it may, and counts how often it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self._error = error

    async def __call__(self) -> str:
        self.asked += 1
        await self.may_answer.wait()
        if self._error is not None:
            raise self._error
        return f"answer {self.asked}"


def flight() -> SingleFlight[str, str]:
    return SingleFlight()


def test_one_question_for_all_and_a_new_one_once_it_is_answered() -> None:
    async def run() -> None:
        slow, asking = Slow(), flight()
        waiting = [asyncio.create_task(asking.answer("a", slow)) for _ in range(20)]
        await asyncio.sleep(0)
        slow.may_answer.set()
        assert await asyncio.gather(*waiting) == ["answer 1"] * 20
        assert await asking.answer("a", slow) == "answer 2"

    asyncio.run(run())


def test_each_key_is_a_question_of_its_own() -> None:
    async def run() -> None:
        slow, asking = Slow(), flight()
        slow.may_answer.set()
        assert await asyncio.gather(asking.answer("a", slow), asking.answer("b", slow)) == ["answer 1", "answer 2"]

    asyncio.run(run())


def test_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    async def run() -> None:
        slow, asking = Slow(), flight()
        first, second = (asyncio.create_task(asking.answer("a", slow)) for _ in range(2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking.answer("a", slow), 0.01)
        first.cancel()
        await asyncio.wait({first})
        slow.may_answer.set()
        assert (await second, slow.asked) == ("answer 1", 1)

    asyncio.run(run())


def test_an_error_is_told_to_all_who_wait_and_to_nobody_else() -> None:
    async def run() -> list[Any]:
        slow, asking, reported = Slow(ValueError("no such actor")), flight(), []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        asking.begin("a", slow)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking.answer("a", slow), 0.01)
        waiting = [asyncio.create_task(asking.answer("a", slow)) for _ in range(3)]
        await asyncio.sleep(0)
        slow.may_answer.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in told] == [ValueError] * 3
        asking.begin("nobody waits", slow)
        while asking._asking:
            await asyncio.sleep(0)
        gc.collect()
        return reported

    assert asyncio.run(run()) == []
