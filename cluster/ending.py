"""Word that this process is to end: SIGTERM, SIGINT, or the end of another process."""

from __future__ import annotations

import os
import signal
from typing import Self

from kaizen.fate import when_ended

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """Inside its `with`, it comes as KeyboardInterrupt wherever the main thread is: a start is broken off anywhere."""

    def __init__(self) -> None:
        self._told = False  # an exception may be lost: what is raised in a destructor is

    def __enter__(self) -> Self:
        self.heed()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more: what puts things in order is not broken off."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def heed(self) -> None:
        """Listen from now on. To be called again after whatever installs handlers of its own, as Ray does."""
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def come_with(self, process: int) -> None:
        """Come, too, when `process` has ended, however it did."""
        when_ended(process, lambda: os.kill(os.getpid(), signal.SIGTERM))

    def wait(self) -> None:
        """Wait for the word; return at once if it came, and was lost."""
        while not self._told:
            signal.pause()

    def _hear(self, *_: object) -> None:
        self._told = True
        raise KeyboardInterrupt
