"""Processes that end with the one that started them, also when that is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which started it, ends. Only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)


def end_with_raylet() -> None:
    """For Ray's workers, as their setup hook.

    A worker looks for the process id of its raylet to know whether that lives. But the id of a process that was killed
    is there until somebody has waited for it, and in a container whose first process does not, workers were still
    there a minute and a half after a kill of the command that had started their Ray.
    """
    end_with(os.getppid())
