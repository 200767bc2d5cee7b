"""One database, SQLite or PostgreSQL: connections set for durability, consistent reads, and the writer.

One writer at a time, across all processes: SQLite's BEGIN IMMEDIATE (`Turn` only makes the wait for it short), on
PostgreSQL an advisory lock held to the end of the transaction. So `seq` is not only ascending but becomes visible
in that order: who has read up to `n` never meets a number below `n` later.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError

from kaizen.config import LedgerSettings
from kaizen.errors import ConfigError, KaizenError
from kaizen.storage.durable import disk_faults, make_directories, sync_directory
from kaizen.storage.ledger import schema
from kaizen.storage.ledger.faults import explained
from kaizen.storage.ledger.group_commit import GroupCommit, Work
from kaizen.storage.ledger.turn import Turn

T = TypeVar("T")
_LOG_PAGES = 1000  # of SQLite's log, from which on a commit copies it into the database; its own default
# How long libpq waits for a server that is gone without a word, which the system does for two hours: ten seconds for
# what is under way, and half of that to connect. A URL that names one of these has its way.
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_WRITER_LOCK = 0x6B61697A656E  # "kaizen": key of the advisory lock, which is per PostgreSQL database


class Database:
    """Reads in the caller's thread, writes through group commit. Survives pickling and fork by reopening."""

    def __init__(self, settings: LedgerSettings, url: str) -> None:
        """Connect, create or migrate the schema, and check that commits are durable.

        Raises:
            ConfigError: the URL is not one of SQLite in a file or PostgreSQL through psycopg, the schema is newer
                than this program, or the server does not sync.
            Unavailable: the database does not answer or cannot be written.
        """
        self.settings = settings
        self.url = url
        self._parsed = _parse(url)
        self._reopening = threading.Lock()
        self._inherited: list[object] = []
        self._turn = Turn(self._file, settings.busy_timeout_seconds).hold if self._is_sqlite else nullcontext
        self._connect()
        try:
            self._prepare()
        except BaseException:
            self._dispose()
            raise

    def _connect(self) -> None:
        self._engine = _engine(self._parsed, self.settings)
        self._writer = GroupCommit(self._begin, self._mark, max_writes=self.settings.group_commit_rows)
        self._kept: sa.Connection | None = None  # of the writer, between its transactions
        self._pid = os.getpid()

    def _here(self) -> Database:
        """After a fork, connect anew. What the parent opened is kept untouched: closing it would drop its locks."""
        if self._pid != os.getpid():
            with self._reopening:
                if self._pid != os.getpid():
                    self._inherited.append((self._engine, self._writer, self._kept))
                    self._connect()
        return self

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection in a read transaction. Raises errors of our own tree only."""
        with explained(), self._here()._engine.connect() as connection:
            yield connection

    def submit(self, work: Work[T], *, synced: bool = True) -> Future[T]:
        """Queue a write; see `GroupCommit.submit`."""
        return self._here()._writer.submit(work, synced=synced)

    def write(self, work: Work[T]) -> T:
        """Write and wait until it is durable."""
        return self.submit(work).result()

    @property
    def stopped(self) -> KaizenError | None:
        """See `GroupCommit.stopped`."""
        return self._here()._writer.stopped

    def close(self) -> None:
        """Finish the queued writes and give the connections back."""
        here = self._here()
        here._writer.close()
        here._dispose()

    def _dispose(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        self._engine.dispose()

    @contextmanager
    def _begin(self, synced: bool = True) -> Iterator[sa.Connection]:
        """A transaction that excludes every other writer. Where it is not `synced`, it is on the disk with the next
        that is, whoever commits that: both databases write one log, in order."""
        with self._turn(), self._writing() as connection:
            if self._is_sqlite:
                _wait_for_the_disk(connection, synced)
            with connection.begin():
                if not self._is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER_LOCK)))
                    if not synced:
                        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                yield connection

    def _mark(self, connection: sa.Connection) -> None:
        """Write what nobody reads, so that the commit has something to sync: SQLite's header as it is. PostgreSQL syncs
        its log by itself, several times a second."""
        if self._is_sqlite:
            connection.exec_driver_sql("PRAGMA user_version = 0")

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """The writer's connection. SQLite's is kept, until something goes wrong: to take one and give it back costs as
        much as to insert a row. PostgreSQL may have been restarted meanwhile, which the pool finds out."""
        connection = self._kept or self._engine.connect().execution_options(kaizen_write=True)
        self._kept = None
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._is_sqlite:
            self._kept = connection
        else:
            connection.close()

    @property
    def _is_sqlite(self) -> bool:
        return self._parsed.get_backend_name() == "sqlite"

    @property
    def _file(self) -> Path:
        return Path(self._parsed.database or "").absolute()

    def _prepare(self) -> None:
        with explained():
            if self._is_sqlite:
                self._create_file()
            with self._begin() as connection:
                schema.migrate(connection)
        if self._is_sqlite:
            # The entries of the file and, made by the transaction, of its log: SQLite syncs the directory for the log,
            # too, but does not look at the answer.
            with disk_faults("the ledger's directory"):
                sync_directory(self._file.parent)

    def _create_file(self) -> None:
        """Make the file and switch it to WAL, which it remembers."""
        with disk_faults("the ledger's directory"):
            make_directories(self._file.parent)
        with self._turn(), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigError(
                f"SQLite cannot use a write-ahead log here (journal mode {mode!r}).",
                advice="Keep the ledger on a local disk, or use PostgreSQL.",
            )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("ledger.url is not a database URL.", advice=_URL_ADVICE) from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (None, "", ":memory:"):
        return parsed
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    raise ConfigError(f"ledger.url has the driver {parsed.drivername!r}, or no file.", advice=_URL_ADVICE)


_URL_ADVICE = "Use sqlite:////path/to/ledger.sqlite or postgresql+psycopg://user@host/database."


def _engine(url: URL, settings: LedgerSettings) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        pool = {"pool_size": 8, "max_overflow": 8, "pool_timeout": settings.busy_timeout_seconds, "pool_pre_ping": True}
        patience = {name: value for name, value in _PATIENCE.items() if name not in url.query}
        engine = sa.create_engine(url, isolation_level="READ COMMITTED", connect_args=patience, **pool)
        sa.event.listen(engine, "connect", partial(_set_up_postgresql, settings))
        return engine
    # SQLite's connections are open files, no server counts them: as many as there are threads that read (0: no limit).
    engine = sa.create_engine(url, pool_size=0, connect_args={"timeout": settings.busy_timeout_seconds})
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(raw: DBAPIConnection, _record: object) -> None:
    cursor = raw.cursor()
    raw.isolation_level = None  # the driver must not begin transactions by itself; `_begin_sqlite` does
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # what is removed is overwritten: a text that went is not in the file
    found = [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys")]
    cursor.close()
    if found != [2, 1]:
        raise ConfigError(f"SQLite refused synchronous=FULL or foreign_keys=ON: {found}.", advice="Update SQLite.")


def _wait_for_the_disk(connection: sa.Connection, synced: bool) -> None:
    """Whether the connection's next commits wait for their sync. The log is written in order all the same.

    One that does not wait must not copy the log into the database either: SQLite would sync the log for that, and not
    tell when it failed.
    """
    if connection.info.get("synced", True) != synced:
        raw: Any = connection.connection.dbapi_connection
        raw.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
        raw.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES if synced else 0}")
        connection.info["synced"] = synced


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("kaizen_write", False)
    raw: Any = connection.connection.dbapi_connection
    raw.execute("BEGIN IMMEDIATE" if write else "BEGIN")  # SQLAlchemy's own way to a statement costs five times as much


def _set_up_postgresql(settings: LedgerSettings, raw: DBAPIConnection, _record: object) -> None:
    cursor = raw.cursor()
    cursor.execute(f"SET lock_timeout = {int(settings.busy_timeout_seconds * 1000)}")
    cursor.execute("SHOW synchronous_commit")
    if cursor.fetchone() == ("off",):
        cursor.execute("SET synchronous_commit = on")
    cursor.execute("SHOW fsync")
    fsync = cursor.fetchone()
    cursor.close()
    raw.commit()
    if fsync != ("on",):
        raise ConfigError("This PostgreSQL server runs with fsync=off.", advice="Set it on: commits must be durable.")
