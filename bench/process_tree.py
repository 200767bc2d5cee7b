"""What a process and all that it started take: memory at its peak, and CPU time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.5


class ProcessTree:
    """A process with its descendants, looked at twice a second. Linux only: it reads /proc.

    Attributes:
        peak_bytes: most memory of all together at one look: the sum of proportional set sizes (PSS), so that pages
            which processes share (libraries, Ray's object store) count once; RSS less shared pages where PSS may not
            be read.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._spent: dict[tuple[int, float], float] = {}
        self._last = time.monotonic()
        self.peak_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far. What a process does between the last look and its end is not seen."""
        return sum(self._spent.values())

    def look(self) -> None:
        """Add what is there now."""
        total = 0
        for process in self.processes():
            try:
                times = process.cpu_times()
                self._spent[process.pid, process.create_time()] = times.user + times.system
                total += memory_bytes(process)
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue
        self.peak_bytes = max(self.peak_bytes, total)

    def processes(self) -> list[psutil.Process]:
        """All that live now."""
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


@contextmanager
def watched(pid: int) -> Iterator[ProcessTree]:
    """Look at a process tree again and again until the block ends."""
    tree = ProcessTree(pid)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            tree.look()

    watcher = threading.Thread(target=watch, name="watch", daemon=True)
    watcher.start()
    try:
        yield tree
    finally:
        ended.set()
        watcher.join()


def memory_bytes(process: psutil.Process) -> int:
    """Proportional set size, or where it may not be read RSS less shared pages."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except PermissionError:
        pass
    memory = process.memory_info()
    return int(memory.rss - memory.shared)
