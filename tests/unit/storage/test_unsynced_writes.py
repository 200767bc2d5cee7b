"""Writes that need not be synced by themselves: committed in order, and on the disk soon."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import Unavailable, WriterStopped
from kaizen.storage.ledger import Ledger, group_commit
from kaizen.storage.ledger.group_commit import GroupCommit
from tests.product import eventually
from tests.unit.storage.examples import TENANT, feedback, impression


class Seen:
    """What a writer did: `begun` says of each of its transactions whether it was a durable one."""

    def __init__(self, path: Path) -> None:
        self.begun: list[bool] = []
        self.marked = threading.Event()
        self.faults: list[Exception] = []  # of the next transactions
        self._engine = sa.create_engine(f"sqlite:///{path}/one.sqlite", connect_args={"check_same_thread": False})
        self.writer = GroupCommit(self._begin, lambda _: self.marked.set(), max_writes=10)

    @contextlib.contextmanager
    def _begin(self, synced: bool) -> Iterator[sa.Connection]:
        self.begun.append(synced)
        if self.faults:
            raise self.faults.pop(0)
        with self._engine.begin() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.execute("BEGIN")  # type: ignore[attr-defined]
            yield connection

    def write(self, *, synced: bool) -> None:
        self.writer.submit(lambda _: None, synced=synced).result()


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    found = Seen(tmp_path)
    yield found
    found.writer.close()
    found._engine.dispose()


def test_it_is_synced_soon_where_nothing_else_is_written(seen: Seen) -> None:
    seen.write(synced=False)
    assert seen.marked.wait(10)
    seen.write(synced=False)
    assert seen.begun == [False, True, False]


def test_a_write_that_is_synced_takes_it_along_though_it_changes_nothing(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 60)
    seen.write(synced=True)
    assert not seen.marked.is_set(), "nothing waited"
    seen.write(synced=False)
    seen.write(synced=True)
    assert seen.marked.is_set()
    seen.writer.close()
    assert seen.begun == [True, False, True]


def test_it_does_not_wait_for_a_pause_between_writes(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 60)
    seen.write(synced=False)
    seen.write(synced=False)
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 0)
    seen.write(synced=False)
    assert seen.begun == [False, False, True]


def test_closing_syncs_it(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 60)
    seen.write(synced=False)
    seen.writer.close()
    assert seen.begun == [False, True]


def test_what_could_not_be_synced_now_is_synced_later(seen: Seen) -> None:
    busy = Unavailable("Too many open files.", advice="Wait.")
    seen.writer.submit(lambda _: seen.faults.append(busy), synced=False).result()
    assert seen.marked.wait(10)
    seen.write(synced=True)
    assert seen.begun == [False, True, True, True]


def test_a_sync_that_fails_later_stops_the_writer(seen: Seen) -> None:
    stopped = WriterStopped("The disk's state is unknown.", advice="Check it.")
    seen.writer.submit(lambda _: seen.faults.append(stopped), synced=False).result()
    eventually(lambda: len(seen.begun) == 2, 10, "it tried to sync")
    with pytest.raises(WriterStopped, match="unknown"):
        seen.write(synced=True)
    assert seen.writer.stopped is stopped
    assert len(seen.begun) == 2


def test_what_is_shown_is_in_the_log_and_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that copied the log into the database would sync it, and SQLite would not tell when that fails."""
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 60)
    database = tmp_path / "ledger.sqlite"
    with Ledger.open(LedgerSettings(), f"sqlite:///{database}") as ledger:
        before, log = database.read_bytes(), database.with_name("ledger.sqlite-wal")
        for number in range(400):
            ledger.impressions.submit_record(impression(f"imp_{number}")).result()
        assert ledger.impressions.count(TENANT) == 400
        assert log.stat().st_size > 1000 * 4096
        assert database.read_bytes() == before
        ledger.feedback.record(feedback(impression_id="imp_399"))
        assert database.read_bytes() != before


def test_only_the_transaction_that_asks_for_it_does_not_wait_for_the_disk(ledger: Ledger) -> None:
    def mode(connection: sa.Connection) -> object:
        sqlite = connection.dialect.name == "sqlite"
        return connection.exec_driver_sql("PRAGMA synchronous" if sqlite else "SHOW synchronous_commit").scalar()

    asked = [ledger._database.submit(mode, synced=synced).result() for synced in (True, False, True)]
    assert asked in ([2, 1, 2], ["on", "off", "on"])
