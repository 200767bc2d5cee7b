"""What a process and all that it started take: memory at its peak, and CPU time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SAMPLE_SECONDS = 1.0
NEWS = 1.01  # growth of resident memory after which the dear look at what is shared is worth its price,
LOOKS = 10  # and every so many looks it is, since resident sets may shrink where less is shared


class ProcessTree:
    """A process with its descendants, looked at once a second. Linux only: it reads /proc.

    The kernel walks all pages of a process to tell its PSS: 70 ms for one with Ray and a model, which twice a second
    was a twelfth of two cores. So PSS is asked for at one look in ten, and whenever the resident sets together are
    larger than ever.

    Attributes:
        peak_bytes: most memory of all together at one look: the sum of proportional set sizes (PSS), so that pages
            which processes share (libraries, Ray's object store) count once; RSS less shared pages where PSS may not
            be read.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._spent: dict[tuple[int, float], float] = {}
        self._most_resident = 0
        self._looks = 0
        self.peak_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far. What a process does between the last look and its end is not seen."""
        return sum(self._spent.values())

    def look(self) -> None:
        """Add what is there now."""
        processes = self.processes()
        resident = sum(map(self._looked_at, processes))
        if resident > NEWS * self._most_resident or self._looks % LOOKS == 0:
            self._most_resident = max(resident, self._most_resident)
            self.peak_bytes = max(self.peak_bytes, sum(map(_memory_if_alive, processes)))
        self._looks += 1

    def _looked_at(self, process: psutil.Process) -> int:
        """Note the time that it has taken; bytes of its resident set, 0 when it has ended."""
        try:
            with process.oneshot():
                times = process.cpu_times()
                self._spent[process.pid, process.create_time()] = times.user + times.system
                return int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

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


def _memory_if_alive(process: psutil.Process) -> int:
    try:
        return memory_bytes(process)
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return 0


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
