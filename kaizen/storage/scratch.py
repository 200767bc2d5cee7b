"""A folder of this machine for what a remote store was asked for. It goes with its process, however that ends.

The process locks its folder, and the kernel drops the lock with the process: whoever makes one clears away those that
nobody has locked. A folder gets the name by which they are found only when it is locked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from contextlib import ExitStack
from pathlib import Path

from kaizen.storage import durable

_NAMED = "kaizen-fetched-"  # not as versions before named theirs, which they do not lock
_UNNAMED = f".{_NAMED}"


class Scratch:
    """A fresh folder at `path`; gone when nobody holds this any more."""

    def __init__(self) -> None:
        with durable.disk_faults("what is fetched"):
            _clear_rubbish(Path(tempfile.gettempdir()))
            unnamed = Path(tempfile.mkdtemp(prefix=_UNNAMED))
            lock = ExitStack()
            lock.enter_context(durable.locked(unnamed))
            self.path = unnamed.rename(unnamed.with_name(unnamed.name.removeprefix(".")))
        weakref.finalize(self, _remove, self.path, lock)


def _remove(path: Path, lock: ExitStack) -> None:
    shutil.rmtree(path, ignore_errors=True)
    lock.close()


def _clear_rubbish(place: Path) -> None:
    """Remove what processes of this user that were killed have left."""
    for left in place.glob(f"{_NAMED}*"):
        if _is_mine(left):
            with durable.locked(left) as locked:
                if locked:
                    shutil.rmtree(left, ignore_errors=True)


def _is_mine(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
    except FileNotFoundError:
        return False
