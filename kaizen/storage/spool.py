"""A spool: what a process has promised to store elsewhere, in a file of its host until that is done.

What was added is there however the process ends, and whoever comes next stores it. The file is not synced: a power cut
may take it, and leave a last record torn.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from kaizen.storage.durable import disk_faults, replace, try_lock

# A spool that never has a moment without a record that waits must not grow for ever.
MAX_BYTES = 2**20
SUFFIX = ".spool"
UNREAD = ".unread"

log = logging.getLogger("kaizen.spool")


class Spool:
    """The spool of one process. Safe to use from many threads.

    Records are bytes without line feeds. It holds the lock of its file for as long as the process lives.
    """

    def __init__(self, folder: Path) -> None:
        """Make a file in `folder`, which nobody else may read. Raises StorageFull or Unavailable."""
        with disk_faults("a spool"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path, self._file = _locked(folder)
        self._lock = threading.Lock()
        self._open = True
        self._size = 0
        self._waiting = 0

    def add(self, record: bytes) -> bool:
        """Whether the record is in the file now, where it stays until it is settled: not when the spool or the disk is
        full, when the disk fails, and after `close`."""
        line = record + b"\n"
        with self._lock:
            if not self._open or self._size + len(line) > MAX_BYTES:
                return False
            try:  # at its place, so that half a record, which a full disk leaves, is written over by the next
                whole = os.pwrite(self._file, line, self._size) == len(line)
            except OSError:
                return False
            if whole:
                self._size += len(line)
                self._waiting += 1
            return whole

    def settle(self, count: int = 1) -> None:
        """So many records are stored now. When none waits any more, the file is emptied."""
        with self._lock:
            self._waiting -= count
            if self._open and not self._waiting:
                try:
                    os.ftruncate(self._file, 0)
                except OSError:
                    return  # the next time: until then it keeps what is stored already, and becomes full
                self._size = 0

    @property
    def waiting(self) -> int:
        """Records that are not settled yet."""
        return self._waiting

    def left(self) -> list[bytes]:
        """All records in the file: those that wait, and others that were stored since one of them came."""
        with self._lock:
            return _records(os.pread(self._file, self._size, 0)) if self._open else []

    def close(self) -> None:
        """Let go of the file; it is gone when no record waits, and can be taken over otherwise."""
        with self._lock:
            if self._open:
                self._open = False
                if not self._waiting:
                    self._path.unlink(missing_ok=True)
                os.close(self._file)


def take_over(folder: Path, store: Callable[[list[bytes]], Sequence[bytes]]) -> int:
    """Let `store` have the records of each spool whose process has ended, then remove it. Returns how many there were.

    `store` returns those that it cannot read: they are kept in a file beside. What it raises ends this, and leaves the
    spool for the next time. Records may come twice: when a process had stored one before it ended, or two take over at
    once.
    """
    taken = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # another one was faster
        except OSError:
            log.exception("%s cannot be opened, and is left.", path)
            continue
        with file:
            if not try_lock(file.fileno()):
                continue
            records = _records(file.read())
            unread = store(records) if records else []
            if unread:
                _keep(path.with_suffix(UNREAD), unread)
            path.unlink(missing_ok=True)
            taken += len(records)
    return taken


def _keep(path: Path, unread: Sequence[bytes]) -> None:
    """A newer version may have written them, or a power cut: somebody may want to look."""
    log.error("%d records cannot be read by this version; they are in %s.", len(unread), path)
    replace(path, b"".join(record + b"\n" for record in unread), 0o600)


def _locked(folder: Path) -> tuple[Path, int]:
    """A new file, and its descriptor that has the lock. One that was taken over before it was locked is gone."""
    while True:
        path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if try_lock(file) and path.exists():
            return path, file
        os.close(file)


def _records(written: bytes) -> list[bytes]:
    """What ends with a line feed; a record that was torn has none."""
    return written.split(b"\n")[:-1]
