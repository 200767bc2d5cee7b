"""Starting and ending the head process and what it started. Nothing is ever found by name."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from kaizen.errors import PermanentError
from kaizen.run_state import LOG_FILE

STOP_SECONDS = 60.0
FOLLOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended: processes that went by themselves once asked, and those that had to be killed."""

    stopped: tuple[str, ...]
    killed: tuple[str, ...]


def start_head(workspace: Path, config: Path | None) -> subprocess.Popen[bytes]:
    """Start `python -m cluster.head` in a session of its own, writing to the workspace's log."""
    workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
    # -P: a folder called `cluster` in the current directory is not ours.
    command = [sys.executable, "-P", "-m", "cluster.head", *(["--config", str(config)] if config else [])]
    descriptor = os.open(workspace / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as log:
        return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def end_tree(
    head: psutil.Process, grace_seconds: float = STOP_SECONDS, follow_seconds: float = FOLLOW_SECONDS
) -> Ended:
    """Ask `head` to end (SIGTERM), wait, and kill what is left of it and of the processes it had started.

    Args:
        grace_seconds: what the head gets to end in good order.
        follow_seconds: what the others then get to follow it.

    Only processes seen as its descendants are touched, each recognised by id and creation time.
    Raises PermanentError if the process belongs to somebody else.
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
    psutil.wait_procs([head], timeout=grace_seconds)
    _, left = psutil.wait_procs(list(tree), timeout=follow_seconds)
    for process in left:
        _kill(process)
    psutil.wait_procs(left, timeout=follow_seconds)
    return Ended(
        tuple(name for process, name in tree.items() if process not in left),
        tuple(tree[process] for process in left),
    )


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
