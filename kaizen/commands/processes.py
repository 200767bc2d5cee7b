"""Starting and ending the head process and what it started. Nothing is ever found by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from kaizen.errors import PermanentError
from kaizen.run_state import LOG_FILE

STOP_SECONDS = 60.0
FOLLOW_SECONDS = 10.0
WAIT_SLICE_SECONDS = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended: processes that went by themselves once asked, and those that had to be killed."""

    stopped: tuple[str, ...]
    killed: tuple[str, ...]


def start_head(workspace: Path, config: Path | None) -> psutil.Process:
    """Start `python -m cluster.head` in a session of its own, writing to the workspace's log."""
    # -P: a folder called `cluster` in the current directory is not ours.
    command = [sys.executable, "-P", "-m", "cluster.head", *(["--config", str(config)] if config else [])]
    log = str(workspace / LOG_FILE)
    # posix_spawn and not subprocess, whose objects mean to see the end of what they started.
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return psutil.Process(pid)


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP come as SystemExit, so that what was begun is ended as after any error.

    Only the first one comes: the ending is not broken off. One that is ignored (`nohup`) stays so.
    """
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]

    def hear(number: int, _: object) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in heeded:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)


def end_tree(
    head: psutil.Process, grace_seconds: float = STOP_SECONDS, follow_seconds: float = FOLLOW_SECONDS
) -> Ended:
    """Ask `head` to end (SIGTERM), wait, and kill what is left of it and of the processes it had started.

    Only processes seen as its descendants are touched, each recognised by id and creation time.

    Args:
        grace_seconds: what the head gets to end in good order.
        follow_seconds: what the others then get to follow it.

    Raises:
        PermanentError: the process belongs to somebody else.
    """
    try:
        tree = {process: _name(process) for process in [head, *head.children(recursive=True)]}
        head.terminate()
    except psutil.AccessDenied as error:
        raise PermanentError(
            f"Process {head.pid} belongs to somebody else.", advice="Run this as the user who ran `kaizen up`."
        ) from error
    except psutil.NoSuchProcess:
        return Ended((), ())
    _wait([head], grace_seconds)
    left = _wait(list(tree), follow_seconds)
    for process in left:
        _kill(process)
    _wait(left, follow_seconds)
    return Ended(
        tuple(name for process, name in tree.items() if process not in left),
        tuple(tree[process] for process in left),
    )


def _wait(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended; return those that have not in time.

    One that has ended but that nobody has collected (a container whose first process collects none) has ended too.
    """
    deadline = time.monotonic() + seconds
    left = [process for process in processes if _lives(process)]
    while left and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=min(WAIT_SLICE_SECONDS, seconds))
        left = [process for process in left if _lives(process)]
    return left


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return  # it went between the wait and now: that is what was wanted


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.name()} ({process.pid})"
    except psutil.NoSuchProcess:
        return f"({process.pid})"
