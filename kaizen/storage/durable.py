"""Writing to a local disk so that a crash at any point leaves the old state or the new one, never a mixture."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaizen.errors import Corrupt, StorageFull, Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNREADABLE = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)  # a bad sector, or what the file system finds damaged itself


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> None:
    """Create a directory with its parents, each of them durable."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for created in reversed(missing):
        sync_directory(created.parent)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Create a file that must not exist, with this mode from its first moment, and sync it (not its name)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_new(source: Path, target: Path) -> None:
    """Copy a file's bytes to a name that must not exist and sync them (not the name)."""
    with source.open("rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 2**20)
        writer.flush()
        os.fsync(writer.fileno())


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file in one step: a reader sees all of the old bytes or all of the new, also after a crash."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_new(beside, data, mode)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file if nobody else has it; whether it is ours. It ends with the last descriptor."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Try to lock a directory for the block; says whether it is ours, which it is not when it is gone."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        yield try_lock(descriptor) and directory.exists()
    finally:
        os.close(descriptor)


@contextmanager
def disk_faults(what: str) -> Iterator[None]:
    """Turn what a disk may answer into our errors. `what` names the thing that was being written or read."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"No space is left to store {what}.", advice="Free space, then try again.") from error
        raise Unavailable(
            f"The disk refused {what} ({errno.errorcode.get(error.errno or 0, 'unknown')}).",
            advice="Check the disk, its space and the permissions of the directory.",
        ) from error


@contextmanager
def read_faults(what: str) -> Iterator[None]:
    """As `disk_faults`, where something is only read: what the disk holds no more is as bad as what has changed."""
    with disk_faults(what):
        try:
            yield
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            raise Corrupt(
                f"The disk cannot read {what} ({errno.errorcode[error.errno]}).",
                advice="Check the disk; build it again, or restore it from a backup.",
            ) from error
