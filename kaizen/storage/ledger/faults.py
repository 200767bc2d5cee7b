"""What a database error means to the caller: the tree of `kaizen.errors`, chosen by the database's own codes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, exc

from kaizen.errors import Corrupt, InvalidInput, KaizenError, StorageFull, TransientError, Unavailable, WriterStopped

# SQLite could not grow the WAL's shared-memory file: nothing durable was touched, the disk is merely full.
_SQLITE_SHM_FULL = sqlite3.SQLITE_IOERR_SHMSIZE
_LIBPQ_IDLE = 0  # PQTRANS_IDLE: connected, in no transaction
_LIBPQ_IN_TRANSACTION = 2  # PQTRANS_INTRANS: in one in which nothing has failed


@contextmanager
def explained() -> Iterator[None]:
    """Let what the database raises in a block that reads come out as an error of our own tree."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, sqlite3.Error) as error:
        reason = explain(error)
        if reason is error:
            raise
        if isinstance(reason, WriterStopped):
            raise Unavailable("The ledger's disk cannot be read.", advice="Check the disk.") from error
        raise reason from error


def explain(error: BaseException) -> BaseException:
    """Return the error of our own tree that `error` amounts to, or `error` itself when it is none of the database's."""
    if isinstance(error, exc.TimeoutError):
        return Unavailable("The ledger has no free connection.", advice="Try again shortly.")
    raised = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(raised, sqlite3.Error):
        return _of_sqlite(raised) or error
    if isinstance(error, exc.DBAPIError):
        return _of_postgresql(error) or error
    return error


def ends_transaction(error: BaseException) -> bool:
    """Return whether after `error` nothing of the running transaction can be kept.

    SQLite may roll the whole transaction back by itself when the disk is full, an I/O fails or memory is short;
    a lost PostgreSQL connection takes its transaction with it. Anything else a savepoint contains.
    """
    return isinstance(error, exc.DBAPIError) and isinstance(explain(error), TransientError | WriterStopped | Corrupt)


def in_transaction(connection: Connection) -> bool:
    """Return whether the database still has the transaction that SQLAlchemy believes in.

    Where SQLite has dropped it, its driver takes COMMIT for done: writes would be acknowledged and not be there.
    """
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        return bool(raw.in_transaction)
    return bool(raw.info.transaction_status != _LIBPQ_IDLE)


def can_commit(connection: Connection) -> bool:
    """Return whether the transaction is there and nothing in it failed: else PostgreSQL takes COMMIT for ROLLBACK."""
    if connection.dialect.name == "sqlite":
        return in_transaction(connection)
    raw: Any = connection.connection.dbapi_connection
    return bool(raw.info.transaction_status == _LIBPQ_IN_TRANSACTION)


def outcome_unknown(error: BaseException) -> bool:
    """Return whether a commit that raised `error` may have happened all the same."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _of_sqlite(error: sqlite3.Error) -> KaizenError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_FULL or code == _SQLITE_SHM_FULL:
        return _full()
    if primary == sqlite3.SQLITE_IOERR:
        return _stopped(error.sqlite_errorname)
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Corrupt("The ledger's database is damaged.", advice="Stop writing and restore it from a backup.")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _busy()
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM):
        return Unavailable(
            f"The ledger's database cannot be opened for writing ({error.sqlite_errorname}).",
            advice="Check the owner and mode of the workspace directory, and that its disk has space.",
        )
    return None


def _of_postgresql(error: exc.DBAPIError) -> KaizenError | None:
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in ("53100", "53400"):  # disk_full, configuration_limit_exceeded (temporary files)
        return _full()
    if state == "58030":  # io_error
        return _stopped("PostgreSQL io_error")
    if state in ("XX001", "XX002"):  # data_corrupted, index_corrupted
        return Corrupt("The ledger's database is damaged.", advice="Stop writing and restore it from a backup.")
    if state in ("55P03", "40P01", "40001"):  # lock_not_available, deadlock_detected, serialization_failure
        return _busy()
    if error.connection_invalidated or state[:2] in ("08", "53", "57") or isinstance(error, exc.OperationalError):
        return Unavailable(
            "The ledger's database does not answer; whether a write under way was stored is not known.",
            advice="Try again; a write, with the same idempotency key.",
        )
    if isinstance(error, exc.DataError):
        return InvalidInput("The ledger cannot hold this value.", advice="Remove control characters and huge numbers.")
    return None


def _full() -> StorageFull:
    return StorageFull("The ledger's disk is full; nothing was stored.", advice="Free space, then try again.")


def _stopped(what: str) -> WriterStopped:
    return WriterStopped(
        f"A durable write to the ledger failed ({what}); the disk's state is unknown and this writer takes no more.",
        advice="Check the disk. A gateway is replaced by itself; restart any other process.",
    )


def _busy() -> Unavailable:
    return Unavailable("Another process holds the ledger for too long.", advice="Try again shortly.")
