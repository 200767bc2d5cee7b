"""Writes that need not be synced by themselves: committed in order, and on the disk soon."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import WriterStopped
from kaizen.storage.ledger import Ledger, database, group_commit
from kaizen.storage.ledger.group_commit import GroupCommit
from tests.unit.storage.examples import TENANT, feedback, impression


class Seen:
    """What a writer did: `begun` says of each of its transactions whether it was a durable one."""

    def __init__(self, path: Path) -> None:
        self.begun: list[bool] = []
        self.synced = threading.Event()
        self._engine = sa.create_engine(f"sqlite:///{path}/one.sqlite", connect_args={"check_same_thread": False})
        self.writer = GroupCommit(self._begin, self.synced.set, max_writes=10)

    @contextlib.contextmanager
    def _begin(self, synced: bool) -> Iterator[sa.Connection]:
        self.begun.append(synced)
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
    assert seen.begun == [False]
    assert seen.synced.wait(10)


def test_a_write_that_is_synced_takes_it_along(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SYNC_SECONDS", 60)
    seen.write(synced=False)
    seen.write(synced=True)
    seen.writer.close()
    assert seen.begun == [False, True]
    assert not seen.synced.is_set(), "nothing was left to sync"


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
    assert seen.synced.is_set()


def test_what_is_shown_is_in_the_log_when_it_is_acknowledged_and_on_the_disk_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    done = threading.Event()
    monkeypatch.setattr(database, "sync_data", lambda path: (synced.append(path), done.set()))
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.impressions.submit_record(impression()).result()
        assert ledger.impressions.get(TENANT, "imp_1") == impression()
        assert done.wait(10)
        assert synced == [tmp_path / "ledger.sqlite-wal"]
        assert synced[0].exists()
        ledger.feedback.record(feedback())
    assert len(synced) == 1, "feedback's own sync was enough"


def test_a_sync_that_fails_later_stops_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def fail(path: Path) -> None:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(database, "sync_data", fail)
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.impressions.submit_record(impression()).result()
        assert failed.wait(10)
        with pytest.raises(WriterStopped, match="EIO"):
            for _ in range(1000):  # the writer's thread may be about to hear of it
                ledger.feedback.record(feedback())


def test_only_the_transaction_that_asks_for_it_does_not_wait_for_the_disk(ledger: Ledger) -> None:
    def mode(connection: sa.Connection) -> object:
        sqlite = connection.dialect.name == "sqlite"
        return connection.exec_driver_sql("PRAGMA synchronous" if sqlite else "SHOW synchronous_commit").scalar()

    asked = [ledger._database.submit(mode, synced=synced).result() for synced in (True, False, True)]
    assert asked in ([2, 1, 2], ["on", "off", "on"])
