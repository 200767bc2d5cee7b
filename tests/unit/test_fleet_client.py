"""What the fleet says, asked once for all; while it does not answer, nothing else waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from actors import fleet_client
from actors.fleet_client import FleetClient
from actors.names import FLEET

MANY = 40  # more than an event loop's own threads


class Fleet:
    """Answers when it may; stands for Ray as well. `calls` are those that have begun."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.may_answer = threading.Event()
        self.fails = False

    def get_actor(self, _name: str, **_: object) -> Any:  # noqa: ANN401
        def method(name: str) -> Any:  # noqa: ANN401
            return SimpleNamespace(remote=lambda *arguments: (name, arguments))

        return SimpleNamespace(**{name: method(name) for name in ("states", "status", "wake")})

    def get(self, call: tuple[str, tuple[object, ...]], **_: object) -> dict[str, str]:
        self.calls.append(call)
        assert self.may_answer.wait(10)
        if self.fails:
            raise GetTimeoutError
        return {"shard-0": "serving"}

    async def begun(self, calls: int) -> None:
        async with asyncio.timeout(5):
            while len(self.calls) < calls:
                await asyncio.sleep(0.001)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    made = Fleet()
    monkeypatch.setattr(fleet_client, "ray", made)
    yield made
    made.may_answer.set()


def client() -> FleetClient:
    return FleetClient("tests", ThreadPoolExecutor(4, thread_name_prefix="ray"))


def test_one_question_for_all_who_want_to_know(fleet: Fleet) -> None:
    async def run() -> None:
        asked = client()
        waiting = [asyncio.create_task(asked.states("r1")) for _ in range(MANY)]
        await fleet.begun(1)
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        fleet.may_answer.set()
        assert await asyncio.gather(*waiting[1:]) == [{"shard-0": "serving"}] * (MANY - 1)
        assert fleet.calls == [("states", (["r1"],))]

    asyncio.run(run())


def test_however_much_it_is_asked_a_write_waits_for_none(fleet: Fleet) -> None:
    async def run() -> None:
        asked = client()
        waiting = [asyncio.create_task(asked.states(f"r{number}")) for number in range(MANY)]
        await fleet.begun(1)
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 5)
        fleet.may_answer.set()
        await asyncio.gather(*waiting)

    asyncio.run(run())


def test_states_of_other_releases_and_the_status_are_other_questions(fleet: Fleet) -> None:
    fleet.may_answer.set()

    async def run() -> None:
        asked = client()
        await asyncio.gather(asked.states("r1"), asked.states(None), asked.status(), asked.status())

    asyncio.run(run())
    assert sorted(fleet.calls, key=repr) == [("states", (None,)), ("states", (["r1"],)), ("status", ())]


def test_each_change_wakes_it(fleet: Fleet) -> None:
    async def run() -> None:
        asked = client()
        waking = [asyncio.create_task(asked.wake()) for _ in range(2)]
        await fleet.begun(2)
        fleet.may_answer.set()
        await asyncio.gather(*waking)

    asyncio.run(run())


def test_one_that_does_not_answer_is_what_is_waited_for(fleet: Fleet) -> None:
    fleet.fails = True
    fleet.may_answer.set()
    assert asyncio.run(client().states("r1")) == {FLEET: "not answering"}
