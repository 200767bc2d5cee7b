"""Group commit, over a real SQLite ledger."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import NotFound, Unavailable
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.group_commit import GroupCommit
from tests.unit.storage.examples import TENANT, document


class _Held:
    """The writer, busy with a first write until it is released: what is queued meanwhile is one group."""

    def __init__(self, ledger: Ledger | GroupCommit) -> None:
        self.busy, self.free = threading.Event(), threading.Event()
        self.first = ledger.submit(self._wait)
        self.busy.wait()

    def _wait(self, _connection: sa.Connection) -> None:
        self.busy.set()
        self.free.wait()


def _fail(connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE documents SET source = 'spoilt'")
    raise NotFound("This one fails.")


def _break(connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE documents SET seq = 999")  # no such change: breaks a foreign key


def test_a_failing_write_takes_no_neighbour_with_it(ledger: Ledger) -> None:
    held = _Held(ledger)
    before, after = ledger.documents.submit_upsert(document("a")), ledger.documents.submit_upsert(document("c"))
    failing: list[Future[None]] = [ledger.submit(_fail), ledger.submit(_break)]
    last = ledger.documents.submit_upsert(document("d"))
    held.free.set()
    assert before.result() < after.result() < last.result()
    with pytest.raises(NotFound, match="This one fails"):
        failing[0].result()
    with pytest.raises(sa.exc.IntegrityError):
        failing[1].result()
    states = ledger.documents.states(TENANT, ["a", "c", "d"])
    assert [(s.id, s.source) for s in states.values()] == [("a", ""), ("c", ""), ("d", "")]


def test_a_commit_of_unknown_outcome_is_not_tried_again(tmp_path: Path) -> None:
    """It may have happened: who runs its writes once more may do them twice."""
    done: list[str] = []

    @contextlib.contextmanager
    def begin(_synced: bool) -> Iterator[sa.Connection]:
        with engine.begin() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.execute("BEGIN")  # type: ignore[attr-defined]
            yield connection
        if done:
            raise OSError("nobody knows")

    engine = sa.create_engine(f"sqlite:///{tmp_path}/one.sqlite", connect_args={"check_same_thread": False})
    writer = GroupCommit(begin, lambda _: None, max_writes=10)
    held = _Held(writer)
    futures: list[Future[None]] = [writer.submit(lambda _: done.append("a")), writer.submit(lambda _: done.append("b"))]
    held.free.set()
    for future in futures:
        with pytest.raises(OSError, match="nobody knows"):
            future.result()
    assert done == ["a", "b"]
    writer.close()
    engine.dispose()


def test_a_write_that_fails_alone_leaves_nothing_behind(ledger: Ledger) -> None:
    ledger.documents.submit_upsert(document("a")).result()
    with pytest.raises(NotFound, match="This one fails"):
        ledger.submit(_fail).result()
    with pytest.raises(sa.exc.IntegrityError):
        ledger.submit(_break).result()
    last = ledger.documents.submit_upsert(document("b")).result()
    states = ledger.documents.states(TENANT, ["a", "b"])
    assert [(s.id, s.source) for s in states.values()] == [("a", ""), ("b", "")]
    assert last == states["b"].seq


def test_writes_that_wait_share_one_commit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with Ledger.open(LedgerSettings(group_commit_rows=10), url) as ledger:
        held = _Held(ledger)
        futures = [ledger.submit(lambda c: c.exec_driver_sql("SELECT total_changes()").close()) for _ in range(25)]
        assert not any(future.done() for future in futures)
        held.free.set()
        for future in futures:
            future.result()


def test_nothing_is_acknowledged_before_the_commit(ledger: Ledger, url: str) -> None:
    """A future's callback runs in the writer's thread at the moment of acknowledgement: others see the row then."""
    seen: list[int] = []
    with Ledger.open(LedgerSettings(), url) as other:
        held = _Held(ledger)
        futures = [ledger.documents.submit_upsert(document(name)) for name in "ab"]
        for future in futures:
            future.add_done_callback(lambda _done: seen.append(other.documents.count(TENANT)))
        held.free.set()
        for future in futures:
            future.result()
        ledger.submit(lambda _connection: None).result()  # the callbacks have run when this is done
    assert seen == [2, 2]


def test_a_coroutine_can_wait_for_a_write(ledger: Ledger) -> None:
    async def write() -> list[int]:
        names = [f"d{number}" for number in range(20)]
        futures = [asyncio.wrap_future(ledger.documents.submit_upsert(document(name))) for name in names]
        return await asyncio.gather(*futures)

    assert asyncio.run(write()) == sorted(change.seq for change in ledger.documents.changes_after(0))


def test_a_cancelled_write_does_not_happen(ledger: Ledger) -> None:
    held = _Held(ledger)
    future = ledger.documents.submit_upsert(document("a"))
    assert future.cancel()
    held.free.set()
    ledger.documents.upsert(document("b"))
    assert sorted(ledger.documents.states(TENANT, ["a", "b"])) == ["b"]


def test_closing_finishes_what_is_queued_and_takes_no_more(ledger: Ledger) -> None:
    held = _Held(ledger)
    futures = [ledger.documents.submit_upsert(document(name)) for name in "abc"]
    held.free.set()
    ledger.close()
    assert [future.done() for future in futures] == [True] * 3
    with pytest.raises(Unavailable, match="closed"):
        ledger.documents.upsert(document("d"))


def test_another_writer_that_holds_the_ledger_makes_writes_unavailable_not_lost(ledger: Ledger, url: str) -> None:
    with Ledger.open(LedgerSettings(busy_timeout_seconds=0.1), url) as impatient:
        held = _Held(ledger)
        with pytest.raises(Unavailable, match="holds the ledger"):
            impatient.documents.upsert(document("a"))
        held.free.set()
        held.first.result()
        assert impatient.documents.upsert(document("a")) == impatient.documents.head()


def test_work_that_hides_an_error_is_acknowledged_only_where_the_database_keeps_it(ledger: Ledger, url: str) -> None:
    """PostgreSQL keeps nothing of a transaction in which a statement failed, and takes COMMIT for ROLLBACK."""

    def hide(connection: sa.Connection) -> None:
        with contextlib.suppress(sa.exc.DBAPIError):
            connection.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")

    held = _Held(ledger)
    before, hidden = ledger.documents.submit_upsert(document("a")), ledger.submit(hide)
    held.free.set()
    assert before.result() == ledger.documents.head()
    assert ledger.documents.count(TENANT) == 1
    alone = ledger.submit(hide)
    assert {future.exception() is None for future in (hidden, alone)} == {url.startswith("sqlite")}


def test_work_that_hides_the_loss_of_its_transaction_is_not_acknowledged(tmp_path: Path) -> None:
    """SQLite drops the transaction when the disk is full, and would call a commit of nothing a success."""

    def hide(connection: sa.Connection) -> None:
        with contextlib.suppress(sa.exc.OperationalError):
            connection.exec_driver_sql("INSERT INTO metadata_fields VALUES ('t', 'n', zeroblob(4000000))")

    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.submit(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100").close()).result()
        held = _Held(ledger)
        futures: list[Future[int] | Future[None]] = [ledger.documents.submit_upsert(document("a")), ledger.submit(hide)]
        held.free.set()
        assert [type(future.exception()) for future in futures] == [Unavailable, Unavailable]
        assert ledger.documents.count(TENANT) == 0
        assert ledger.documents.upsert(document("a")) == ledger.documents.head()
