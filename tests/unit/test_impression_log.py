"""What was shown is in the ledger or in the spool before its response, and in the ledger in the end."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import Unavailable
from kaizen.storage import spool
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.impressions import packed, unpacked
from serve_apps import impression_log
from serve_apps.impression_log import ARRIVALS, ImpressionLog
from tests.product import eventually
from tests.unit.storage.children import telling
from tests.unit.storage.examples import TENANT, impression

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
    asyncio.run(made.log.close())
    made.ledger.close()


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
    assert (place.spooled() > 0, place.log.waiting()) == (True, 1)
    held.set()
    eventually(lambda: place.names() == {"imp_1"}, 10, "it is in the ledger")
    eventually(lambda: (place.spooled(), place.log.waiting()) == (0, 0), 10, "the spool is empty")


def test_what_is_stored_is_what_was_shown(place: Place) -> None:
    shown = impression(query="what\n\u2028\ud800 \U0001f600")
    assert place.log.submit(shown) is None
    eventually(lambda: [one for _, one in place.ledger.impressions.after(0)] == [shown], 10, "it is in the ledger")
    assert unpacked(packed(shown)) == shown
    assert b"\n" not in packed(shown)


@pytest.mark.parametrize(
    "record",
    [b"\0\0\0", b"{}", b'{"body": 1}', b"[]", packed(impression())[:-1], packed(replace(impression(), at="then")),
     packed(impression()).replace(b'"user"', b'"newer"')],
)  # fmt: skip
def test_what_is_no_impression_is_told(record: bytes) -> None:
    with pytest.raises(ValueError, match="no impression"):
        unpacked(record)


def test_without_a_spool_that_takes_it_the_response_waits(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 0)
    write = place.log.submit(impression())
    assert write is not None
    assert asyncio.run(place.log.stored(write))
    assert place.names() == {"imp_1"}


def test_no_response_waits_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 0)
    monkeypatch.setattr(impression_log, "ANSWER_SECONDS", 0.05)
    held = place.hold()
    write = place.log.submit(impression())
    assert write is not None
    assert not asyncio.run(place.log.stored(write))
    held.set()
    eventually(lambda: place.names() == {"imp_1"}, 10, "it is in the ledger all the same")


def test_when_the_ledger_refused_one_the_next_waits_and_is_told(place: Place, refusing: pytest.MonkeyPatch) -> None:
    assert place.log.submit(impression()) is None
    write = place.log.submit(impression("imp_2"))
    assert write is not None
    assert not asyncio.run(place.log.stored(write))
    refusing.undo()

    async def run() -> None:
        looking = asyncio.create_task(place.log.keep_up())
        write = place.log.submit(impression("imp_3"))
        assert write is not None, "it may refuse still"
        assert await place.log.stored(write)
        recorded = "what a response said is on record is in the ledger"
        await asyncio.to_thread(eventually, lambda: place.names() == {"imp_1", "imp_3"}, 4, recorded)
        looking.cancel()

    asyncio.run(run())
    eventually(lambda: place.spooled() == 0, 10, "the spool is empty")
    eventually(lambda: place.log.submit(impression("imp_4")) is None, 10, "nobody waits any more")


def test_what_it_refuses_again_it_is_asked_for_again(place: Place, refusing: pytest.MonkeyPatch) -> None:
    assert place.log.submit(impression()) is None
    refusing.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.ledger.impressions, "record_missing", _refuse)
        with pytest.raises(Unavailable):
            place.log.catch_up()
    assert place.log.submit(impression("imp_2")) is not None
    place.log.catch_up()
    assert {"imp_1"} <= place.names()
    assert place.log.submit(impression("imp_3")) is None


def test_it_goes_on_looking_whatever_goes_wrong(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impression_log, "LOOK_SECONDS", 0.01)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        raise RuntimeError("The database is read-only after a failover.")

    monkeypatch.setattr(place.log, "catch_up", look)

    async def run() -> None:
        looking = asyncio.create_task(place.log.keep_up())
        await asyncio.to_thread(eventually, lambda: len(looks) > 2, 10, "it looks again")
        looking.cancel()

    asyncio.run(run())


def test_what_is_on_its_way_is_waited_for(place: Place) -> None:
    held = place.hold()
    place.log.submit(impression())

    async def run() -> None:
        arrival = asyncio.create_task(place.log.arrives(TENANT, "imp_1"))
        await asyncio.sleep(0)
        held.set()
        assert await arrival
        assert not await place.log.arrives("another", "imp_1")

    asyncio.run(run())


def test_too_many_do_not_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(place.ledger.impressions, "has", lambda _, name: looks.append(name))

    async def run() -> list[object]:
        asked = [place.log.arrives(TENANT, f"imp_{number}") for number in range(100)]
        return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(run())
    assert [type(outcome) for outcome in outcomes[ARRIVALS:]] == [Unavailable] * (100 - ARRIVALS)
    assert outcomes[:ARRIVALS] == [False] * ARRIVALS
    assert len(set(looks)) == ARRIVALS


def test_after_its_end_responses_wait_for_the_ledger(place: Place) -> None:
    held = place.hold()
    assert place.log.submit(impression()) is None
    held.set()
    asyncio.run(place.log.close())
    assert (place.names(), list(place.folder.iterdir())) == ({"imp_1"}, [])
    assert place.log.submit(impression("imp_2")) is not None


def test_without_a_place_for_a_spool_responses_wait_for_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("no folder")
    place = Place(tmp_path)
    write = place.log.submit(impression())
    assert write is not None
    assert asyncio.run(place.log.stored(write))
    place.ledger.close()


def test_a_killed_gateways_impressions_are_stored_by_the_next(tmp_path: Path) -> None:
    with telling(multiprocessing.get_context("fork"), _show_until_killed, tmp_path) as (_, reader):
        shown = {reader.recv() for _ in range(20)}
    next_one = Place(tmp_path)
    assert next_one.names() == set(), "without the spool they would be lost"
    next_one.log.catch_up()
    assert shown <= next_one.names()
    asyncio.run(next_one.log.close())
    next_one.ledger.close()
    assert list(next_one.folder.iterdir()) == []


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


def _refuse(_: object) -> None:
    raise BUSY
