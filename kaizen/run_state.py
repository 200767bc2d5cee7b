"""What runs now: the file by which the head process tells the CLI where it is, and the check that it still is.

The head writes `run.json` (mode 0600) when it is ready; whoever reads it trusts it only while the process that
wrote it lives, recognised by process id AND birth, because ids are used again.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import psutil

from kaizen.errors import Corrupt

RUN_FILE = "run.json"
KEY_FILE = "local.key"
LOG_FILE = "head.log"
STEPS_FILE = "head.status.jsonl"
CREATED_TOLERANCE_SECONDS = 2.0  # creation times hang on the boot time, which moves when the clock is set
PROC = Path("/proc")
_START_TICKS = 22 - 3  # proc(5) counts from 1, and what follows the command, which may hold anything, is its third


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head process, by what it is recognised.

    Attributes:
        created: its creation time in seconds since the epoch (psutil's).
        born: its `birth`; empty in what an earlier version wrote.
    """

    pid: int
    created: float
    born: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState(Head):
    """A running installation.

    Attributes:
        url: base of the HTTP API, without a final slash.
    """

    ray_address: str
    namespace: str
    url: str
    dashboard_url: str
    jobs_address: str


_T = TypeVar("_T", bound=Head)


def birth(pid: int) -> str:
    """What no other process of this id has, however the clock is set: the boot, and the ticks from there to its start.

    Empty where there is no /proc, or no such process.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(PROC / str(pid) / 'stat').read_text().rpartition(')')[2].split()[_START_TICKS]}"
    except OSError:
        return ""


def write_run_state(workspace: Path, state: RunState) -> None:
    """Write `run.json`, whole or not at all, readable by its owner only."""
    partial = workspace / f"{RUN_FILE}.{state.pid}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(state), file)
    partial.replace(workspace / RUN_FILE)


def read_run_state(workspace: Path) -> RunState | None:
    """Return what `run.json` says, or None if there is none. Raise Corrupt if it cannot be understood."""
    return read_head(workspace / RUN_FILE, RunState)


def read_head(path: Path, kind: type[_T]) -> _T | None:
    """Return the head that a file records, or None if there is none. What a later version added is left out.

    Raises:
        Corrupt: it cannot be understood.
    """
    try:
        content = json.loads(path.read_text())
        known = {field.name for field in fields(kind)}
        return kind(**{name: value for name, value in content.items() if name in known})
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, TypeError) as error:
        raise Corrupt(f"{path} cannot be understood.", advice="Remove it if nothing runs there.") from error


def head_process(state: Head) -> psutil.Process | None:
    """Return the live head process, or None if it is gone (or its id now belongs to another process)."""
    try:
        process = psutil.Process(state.pid)
        return process if _wrote(state, process) and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _wrote(state: Head, process: psutil.Process) -> bool:
    if state.born:
        return birth(state.pid) == state.born
    return bool(abs(process.create_time() - state.created) <= CREATED_TOLERANCE_SECONDS)


def remove_run_state(workspace: Path, state: RunState) -> None:
    """Remove `run.json` if it is still the one of `state`."""
    if read_run_state(workspace) == state:
        (workspace / RUN_FILE).unlink(missing_ok=True)
