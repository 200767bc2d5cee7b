"""Group commit: one thread makes many callers' writes durable with one COMMIT.

A disk syncs a few thousand times a second at best, so writers that arrive while one commit runs share the next.
A write that fails takes nobody with it: all are rolled back, and run again in a savepoint each, which to begin with
would cost as much as a small write. Futures are resolved only after the database said that the commit is durable.

Except for a write that nobody relies on by itself (`synced` is False): it is only committed, in order, so whatever is
written after it and synced takes it along: the disk never has the later without the earlier. When nothing brings a sync
within SYNC_SECONDS, a commit of nothing but `mark` does. A synced commit has the mark with it, too, where something
waits for a sync: a database need not sync for writes that changed nothing.
"""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from kaizen.errors import Corrupt, KaizenError, StorageFull, Unavailable, WriterStopped
from kaizen.storage.ledger.faults import can_commit, ends_transaction, explain, in_transaction, outcome_unknown

T = TypeVar("T")
Work = Callable[[Connection], T]
_FATAL = (WriterStopped, Corrupt)  # after these nothing may be written any more
# Opens a transaction; of True, one whose commit is durable.
Begin = Callable[[bool], AbstractContextManager[Connection]]
# For so long at most, what need not be synced by itself is not on the disk. Nobody judges what was shown so soon.
SYNC_SECONDS = 0.1


@dataclass(slots=True, eq=False)
class _Write(Generic[T]):
    """One caller's write, and what came of it."""

    work: Work[T]
    future: Future[T]
    synced: bool
    result: T | None = None
    error: BaseException | None = None

    def run(self, connection: Connection) -> None:
        """Run without a savepoint: what fails, fails the transaction, and `error` says that it was this write."""
        self.error = None
        try:
            self.result = self.work(connection)
            if not can_commit(connection):
                raise _given_up()
        except Exception as error:
            self.error = error
            raise

    def attempt(self, connection: Connection) -> None:
        """Run in a savepoint; keep what is this write's own failure, raise what ends the whole transaction."""
        self.result = self.error = None
        savepoint = connection.begin_nested()
        try:
            self.result = self.work(connection)
            if not can_commit(connection):
                raise _given_up()
            savepoint.commit()
        except Exception as error:
            if ends_transaction(error):
                raise
            if not in_transaction(connection):
                raise _given_up() from error
            savepoint.rollback()
            if not can_commit(connection):
                raise _given_up() from error
            self.error = explain(error)

    def acknowledge(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class GroupCommit:
    """The writer. `begin` opens a transaction that commits when its block ends and rolls back if it raises. `mark`
    writes what nobody reads.

    Work may be run more than once (when another of its group fails, or the disk is full), so it must do nothing but
    talk to the connection it is given.
    """

    def __init__(self, begin: Begin, mark: Work[None], *, max_writes: int) -> None:
        self._begin = begin
        self._mark = mark
        self._unsynced_since: float | None = None  # of time.monotonic
        self._max_writes = max_writes
        self._queue: queue.SimpleQueue[_Write[Any] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()  # holds submissions and the end apart, so that no future is ever forgotten
        self._end: Exception | None = None
        self._thread: threading.Thread | None = None

    def submit(self, work: Work[T], *, synced: bool = True) -> Future[T]:
        """Queue `work`; the future resolves once its result is durable, or, where `synced` is False, committed.

        The future raises what `work` raised; StorageFull when the disk is full (the writer goes on);
        WriterStopped after a failed sync, from then on for every write.
        """
        future: Future[T] = Future()
        with self._gate:
            if self._end is not None:
                future.set_exception(_again(self._end))
                return future
            self._start()
            self._queue.put(_Write(work, future, synced))
        return future

    @property
    def stopped(self) -> KaizenError | None:
        """What every write is refused with, since a sync failed or the database is damaged; None: nothing did."""
        return self._end if isinstance(self._end, _FATAL) else None

    def close(self) -> None:
        """Finish what is queued, then take no more."""
        self._refuse(Unavailable("The ledger is closed.", advice="Open it again."))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
            self._thread.start()

    def _refuse(self, reason: Exception) -> None:
        with self._gate:
            if self._end is None:
                self._queue.put(None)
            if not isinstance(self._end, _FATAL):
                self._end = reason

    def _run(self) -> None:
        last = False
        while not last and (first := self._next()) is not None:
            group, last = self._gather(first)
            self._commit([write for write in group if write.future.set_running_or_notify_cancel()])
        if self._unsynced_since is not None:
            self._catch_up()

    def _next(self) -> _Write[Any] | None:
        """The next write, or the end. What was committed and not synced does not wait for it for long."""
        while self._unsynced_since is not None:
            try:
                return self._queue.get(timeout=max(0.0, self._unsynced_since + SYNC_SECONDS - time.monotonic()))
            except queue.Empty:
                self._catch_up()
        return self._queue.get()

    def _catch_up(self) -> None:
        """Sync what was committed before. Nobody waits to hear that it failed: it is tried again, or, when a sync has
        failed, nothing is written any more."""
        self._unsynced_since = time.monotonic()
        self._commit([_Write(lambda _connection: None, Future(), synced=True)])

    def _gather(self, first: _Write[Any]) -> tuple[list[_Write[Any]], bool]:
        """Return everything that is waiting, up to the limit, and whether the end of the queue is among it."""
        group = [first]
        while len(group) < self._max_writes:
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                break
            if write is None:
                return group, True
            group.append(write)
        return group, False

    def _commit(self, group: Sequence[_Write[Any]]) -> None:
        if isinstance(self._end, _FATAL):
            return self._fail(group, self._end)
        try:
            self._store(group)
        except Exception as error:  # noqa: BLE001 - the futures carry it to those who wait
            return self._recover(group, error)
        for write in group:
            write.acknowledge()
        return None

    def _store(self, group: Sequence[_Write[Any]]) -> None:
        """Commit the group, durably if one of it asks for that.

        Raises what fails all of it; what one write does wrong is kept as its own.
        """
        since = time.monotonic() if self._unsynced_since is None else self._unsynced_since
        synced = any(write.synced for write in group) or time.monotonic() - since >= SYNC_SECONDS
        try:
            with self._transaction(synced) as connection:
                for write in group:
                    write.run(connection)
        except Exception as error:
            its_own = any(write.error is not None for write in group)  # and not the commit's, which may have happened
            if len(group) == 1 or not its_own or ends_transaction(error):
                raise
            with self._transaction(synced) as connection:
                for write in group:
                    write.attempt(connection)
        self._unsynced_since = None if synced else since

    @contextmanager
    def _transaction(self, synced: bool) -> Iterator[Connection]:
        """As `begin`, and marked where its sync is waited for."""
        with self._begin(synced) as connection:
            yield connection
            if synced and self._unsynced_since is not None:
                self._mark(connection)

    def _recover(self, group: Sequence[_Write[Any]], error: Exception) -> None:
        """Nothing of the group is stored. A full disk may be the fault of one large write: try each alone."""
        reason = explain(error)
        if isinstance(reason, _FATAL):
            self._refuse(reason)
        if isinstance(reason, StorageFull) and len(group) > 1 and not outcome_unknown(error):
            for write in group:
                self._commit([write])
            return
        self._fail(group, reason)

    def _fail(self, group: Sequence[_Write[Any]], reason: BaseException) -> None:
        for write in group:
            write.future.set_exception(_again(reason))


def _given_up() -> Unavailable:
    """The work swallowed an error that had ended its transaction."""
    return Unavailable("The database gave a transaction up.", advice="Try again.")


def _again(error: BaseException) -> BaseException:
    """Return a copy with no traceback of its own: each waiting thread will raise its future's exception."""
    return copy.copy(error).with_traceback(None)
