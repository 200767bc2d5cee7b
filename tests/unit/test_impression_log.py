"""What was shown is in the ledger or in the spool before its response, and in the ledger in the end."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import Unavailable
from kaizen.storage import spool
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.impressions import packed
from serve_apps.impression_log import ImpressionLog
from tests.product import eventually
from tests.unit.storage.examples import impression

BUSY = Unavailable("The ledger is busy.", advice="Wait.")


class Place:
    """A ledger, the log of one gateway, and a hand on the ledger's writer."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}/ledger.sqlite"
        self.folder = path / "spool"
        self.ledger = Ledger.open(LedgerSettings(), self.url)
        self.log = ImpressionLog(self.ledger, self.folder)

    def hold(self) -> threading.Event:
        """Let the writer do nothing until the event is set."""
        held = threading.Event()
        self.ledger.submit(lambda _: held.wait(30))
        return held

    def names(self) -> set[str]:
        return {one.id for _, one in self.ledger.impressions.after(0)}

    def spooled(self) -> int:
        return sum(file.stat().st_size for file in self.folder.glob(f"*{spool.SUFFIX}"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.ledger.close()
    made.log.close()


@pytest.fixture
def refusing(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """While this is not undone, the ledger refuses impressions one by one."""
    with monkeypatch.context() as patch:
        refused = Future[None]()
        refused.set_exception(BUSY)
        patch.setattr(place.ledger.impressions, "submit_record", lambda _: refused)
        yield patch


def test_a_response_need_not_wait_for_the_ledger(place: Place) -> None:
    held = place.hold()
    assert place.log.submit(impression()) is None
    assert place.names() == set()
    assert place.spooled() > 0
    held.set()
    eventually(lambda: place.names() == {"imp_1"}, 10, "it is in the ledger")
    eventually(lambda: place.spooled() == 0, 10, "the spool is empty")


def test_what_is_stored_is_what_was_shown(place: Place) -> None:
    shown = impression(query="what\n\u2028\ud800 \U0001f600")
    place.ledger.impressions.submit_packed([packed(shown), b"\0\0\0", b"{}", b'{"body": 1}']).result()
    assert [one for _, one in place.ledger.impressions.after(0)] == [shown]


def test_without_a_spool_that_takes_it_the_response_waits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 0)
    write = place.log.submit(impression())
    assert write is not None
    assert asyncio.run(place.log.stored(write))
    assert place.names() == {"imp_1"}


def test_when_the_ledger_refused_one_the_next_waits_and_is_told(place: Place, refusing: pytest.MonkeyPatch) -> None:
    assert place.log.submit(impression()) is None
    write = place.log.submit(impression("imp_2"))
    assert write is not None
    assert not asyncio.run(place.log.stored(write))
    refusing.undo()
    write = place.log.submit(impression("imp_3"))
    assert write is not None, "it may refuse still"
    assert asyncio.run(place.log.stored(write))
    eventually(lambda: place.names() == {"imp_1", "imp_3"}, 10, "what a response said is kept is in the ledger")
    eventually(lambda: place.spooled() == 0, 10, "the spool is empty")
    eventually(lambda: place.log.submit(impression("imp_4")) is None, 10, "nobody waits any more")


def test_what_it_refuses_again_it_is_asked_for_again(place: Place, refusing: pytest.MonkeyPatch) -> None:
    again = place.ledger.impressions.submit_packed
    assert place.log.submit(impression()) is None
    refusing.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.ledger.impressions, "submit_packed", lambda _: _failed())
        asyncio.run(_store(place.log, "imp_2"))
    assert place.names() == {"imp_2"}
    place.ledger.impressions.submit_packed = again  # type: ignore[method-assign]
    asyncio.run(_look_once(place.log))
    eventually(lambda: place.names() == {"imp_1", "imp_2"}, 10, "though nobody asked anything more")


def test_a_killed_gateways_impressions_are_stored_by_the_next(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_show_until_killed, args=(writer, tmp_path))
    child.start()
    writer.close()
    shown = {reader.recv() for _ in range(20)}
    child.kill()
    child.join()
    next_one = Place(tmp_path)
    assert next_one.names() == set(), "without the spool they would be lost"
    asyncio.run(next_one.log.take_over())
    assert shown <= next_one.names()
    next_one.ledger.close()
    next_one.log.close()
    assert list(next_one.folder.iterdir()) == []


def test_a_start_does_not_fail_for_what_the_ledger_does_not_take(place: Place) -> None:
    (place.folder / f"left{spool.SUFFIX}").write_bytes(packed(impression()) + b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.ledger.impressions, "submit_packed", lambda _: _failed())
        asyncio.run(place.log.take_over())
    asyncio.run(place.log.take_over())
    assert place.names() == {"imp_1"}


def _show_until_killed(told: Connection, path: Path) -> None:
    """The ledger takes nothing meanwhile: somebody else writes in it."""
    place = Place(path)
    engine = sa.create_engine(place.url)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        number = 0
        while place.log.submit(impression(f"imp_{number}")) is None:
            told.send(f"imp_{number}")
            number += 1


async def _look_once(log: ImpressionLog) -> None:
    looking = asyncio.create_task(log.keep_taking_over())
    await asyncio.wait([looking], timeout=0.5)
    looking.cancel()


async def _store(log: ImpressionLog, name: str) -> None:
    write = log.submit(impression(name))
    assert write is not None
    assert await log.stored(write)


def _failed() -> Future[None]:
    failed = Future[None]()
    failed.set_exception(BUSY)
    return failed
