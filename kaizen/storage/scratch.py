"""A folder of this machine for what a process needs while it runs. It goes with its process, however that ends.

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


class Scratch:
    """A fresh folder at `path`, its owner's alone; gone after a block `with` it, or when nobody holds this any more.

    Args:
        purpose: in its name, and not one that versions before used, which lock nothing.
        place: where it is made; among temporary files unless told.
    """

    def __init__(self, purpose: str = "fetched", place: Path | None = None) -> None:
        name = f"kaizen-{purpose}-"
        with durable.disk_faults("temporary files"):
            place = place or Path(tempfile.gettempdir())
            _clear_rubbish(place, name)
            unnamed = Path(tempfile.mkdtemp(prefix=f".{name}", dir=place))
            lock = ExitStack()
            lock.enter_context(durable.locked(unnamed))
            self.path = unnamed.rename(unnamed.with_name(unnamed.name.removeprefix(".")))
        self._remove = weakref.finalize(self, _remove, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self._remove()


def _remove(path: Path, lock: ExitStack) -> None:
    shutil.rmtree(path, ignore_errors=True)
    lock.close()


def _clear_rubbish(place: Path, name: str) -> None:
    """Remove what processes of this user that were killed have left."""
    for left in place.glob(f"{name}*"):
        if _is_mine(left):
            with durable.locked(left) as locked:
                if locked:
                    shutil.rmtree(left, ignore_errors=True)


def _is_mine(folder: Path) -> bool:
    try:
        return folder.lstat().st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
    except FileNotFoundError:
        return False
