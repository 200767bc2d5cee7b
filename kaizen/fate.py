"""Processes that end with the one that started them, also when that is killed."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, ends. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)


def when_ended(process: int, act: Callable[[], object]) -> None:
    """Call `act` in a thread once `process` has ended, however it did: for those that have to put things in order."""

    def watch() -> None:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:  # it has ended already
            act()
            return
        select.select([handle], [], [])
        os.close(handle)
        act()

    threading.Thread(target=watch, name=f"end of {process}", daemon=True).start()


def end_with_raylet() -> None:
    """For Ray's workers, as their setup hook.

    A worker looks for the process id of its raylet to know whether that lives. But the id of a process that was killed
    is there until somebody has waited for it, and in a container whose first process does not, workers were still
    there a minute and a half after a kill of the command that had started their Ray.
    """
    end_with(os.getppid())
