"""Who calls: the ledger is asked once for all that want to know, and nobody who calls often waits for it."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from kaizen.config import Settings
from kaizen.errors import NotAllowed, NotAuthenticated, Unavailable
from kaizen.records import SCOPES, Principal, Scope
from kaizen.security.keys import Authenticator, new_key
from kaizen.storage.ledger.keys import KeyRecord
from serve_apps import ledger_reads
from serve_apps.callers import Callers


class Keys:
    """A ledger's keys that answers when it is told to, and counts how often it was asked."""

    def __init__(self, *records: KeyRecord) -> None:
        self.records = {record.id: record for record in records}
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.fails = False

    def find(self, key_id: str) -> KeyRecord | None:
        self.asked += 1
        assert self.may_answer.wait(10)
        if self.fails:
            raise Unavailable("The ledger is away.", advice="Wait.")
        return self.records.get(key_id)


class Clock:
    """Time that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Door:
    """Callers of a tenant with one key."""

    def __init__(self, scopes: tuple[Scope, ...] = SCOPES) -> None:
        secret, record = new_key(tenant="acme", name="n", scopes=scopes)
        self.keys, self.clock = Keys(record), Clock()
        self.header = f"Bearer {secret.reveal()}"
        authenticator = Authenticator(self.keys, ttl_seconds=1.0, clock=self.clock)  # type: ignore[arg-type]
        self._caller = Callers(Settings(), authenticator).with_scope("search")

    async def knock(self, header: str | None = None) -> Principal:
        request: Any = SimpleNamespace(headers={"authorization": header or self.header})
        return await self._caller(request)

    async def asked(self, times: int) -> None:
        """Until the ledger was asked so often and has been heard."""
        while self.keys.asked < times or self._asking():
            await asyncio.sleep(0.001)

    def _asking(self) -> bool:
        return any(not task.done() for task in asyncio.all_tasks() - {asyncio.current_task()})


def test_one_asks_for_all_that_come_meanwhile() -> None:
    async def run() -> tuple[int, int]:
        door = Door()
        door.keys.may_answer.clear()
        knocking = [asyncio.create_task(door.knock()) for _ in range(40)]
        while not door.keys.asked:
            await asyncio.sleep(0.001)
        knocking[0].cancel()  # who goes away takes nobody along
        door.keys.may_answer.set()
        came = await asyncio.gather(*knocking, return_exceptions=True)
        return door.keys.asked, sum(isinstance(each, Principal) for each in came)

    assert asyncio.run(run()) == (1, 39)


def test_what_is_known_is_made_new_before_its_time_is_over() -> None:
    async def run() -> list[int]:
        door, asked = Door(), []
        for now in (0.0, 0.4, 0.6, 1.05, 1.3):
            door.clock.now = now
            if now:
                door.keys.may_answer.clear()
            await asyncio.wait_for(door.knock(), 5)  # although the ledger does not answer
            door.keys.may_answer.set()
            await door.asked(0)
            asked.append(door.keys.asked)
        return asked

    assert asyncio.run(run()) == [1, 1, 2, 2, 3]


def test_a_revocation_is_seen_when_it_is_asked_for_ahead() -> None:
    async def run() -> None:
        door = Door()
        await door.knock()
        door.keys.records.clear()
        door.clock.now = 0.6
        await door.knock()
        await door.asked(2)
        with pytest.raises(NotAuthenticated):
            await door.knock()

    asyncio.run(run())


def test_a_ledger_that_is_away_is_no_matter_while_the_caller_is_known() -> None:
    async def run() -> None:
        door = Door()
        await door.knock()
        door.keys.fails = True
        door.clock.now = 0.6
        await door.knock()
        await door.asked(2)
        await door.knock()
        door.clock.now = 1.0
        with pytest.raises(Unavailable):
            await door.knock()

    asyncio.run(run())


def test_nobody_waits_for_ever_for_a_ledger_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_reads, "ANSWER_SECONDS", 0.05)

    async def run() -> int:
        door = Door()
        door.keys.may_answer.clear()
        for _ in range(2 * ledger_reads._THREADS):
            with pytest.raises(Unavailable, match="does not answer"):
                await asyncio.wait_for(door.knock(), 5)
        door.keys.may_answer.set()
        while True:  # until the threads have heard
            try:
                await door.knock()
            except Unavailable:
                continue
            return door.keys.asked

    assert asyncio.run(run()) <= ledger_reads._THREADS + 2, "who waits for nothing any more is not asked for"


def test_strangers_and_keys_without_the_scope_are_refused() -> None:
    async def run() -> None:
        with pytest.raises(NotAllowed, match="search"):
            await Door(scopes=("write",)).knock()
        for wrong in ("Bearer nonsense", Door().header):
            with pytest.raises(NotAuthenticated):
                await Door().knock(wrong)

    asyncio.run(run())
