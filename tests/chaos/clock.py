"""The clock of an installation's processes, which a test sets while they run: `time.time` and `time.time_ns`.

Every process of ours and of Ray's that runs Python reads its time there, also Serve's. What is compiled does not, nor
does `time.monotonic`. libfaketime would reach the compiled too, but not soundly: waits that Ray's core asks the kernel
for, up to a moment of its clock, would last an hour, and Debian's 0.9.10 breaks `time.sleep` of Python 3.11.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from tests.chaos.without import CLOCK_VARIABLE, without

_SECONDS = struct.Struct("d")
_ALL = "all"


class Clocks:
    """How far the clocks of processes are off; they look at each question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.set_all(0.0)

    def set_all(self, seconds: float) -> None:
        """Set the clocks of all processes, also of those to come."""
        self._write(_ALL, seconds)

    def set_one(self, pid: int, seconds: float) -> None:
        """Set the clock of one process that has one."""
        assert (self._folder / str(pid)).exists(), f"{pid} runs no Python, or began before"
        self._write(str(pid), seconds)

    def _write(self, name: str, seconds: float) -> None:
        descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, _SECONDS.pack(seconds), 0)
        finally:
            os.close(descriptor)


@contextmanager
def clocks() -> Iterator[Clocks]:
    """Processes started inside the block have clocks that can be set."""
    with tempfile.TemporaryDirectory(prefix="kaizen-clock-") as folder, without({}):
        made = Clocks(Path(folder))
        with mock.patch.dict(os.environ, {CLOCK_VARIABLE: folder}):
            yield made


def install(folder: Path) -> None:
    """Called when a process begins: it gets a clock of its own, beside that of all."""
    file = folder / str(os.getpid())
    file.write_bytes(_SECONDS.pack(0.0))
    both = [_mapped(folder / _ALL), _mapped(file)]

    def shift() -> float:
        return sum(float(_SECONDS.unpack_from(each)[0]) for each in both)

    time.time, time.time_ns = _shifted(time.time, time.time_ns, shift)


def _shifted(
    seconds: Callable[[], float], nanoseconds: Callable[[], int], shift: Callable[[], float]
) -> tuple[Callable[[], float], Callable[[], int]]:
    return lambda: seconds() + shift(), lambda: nanoseconds() + int(shift() * 1e9)


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
