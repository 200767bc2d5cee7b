"""The head that a `kaizen up` has begun and not seen ready: the file by which others find it, however that one ended.

It lies beside `run.json`, which the head itself writes, and only when it is ready.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from kaizen.errors import Corrupt
from kaizen.run_state import birth, head_process
from kaizen.storage.durable import replace

START_FILE = "start.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfStarted:
    """A head, by what `kaizen.run_state` recognises it."""

    pid: int
    created: float
    born: str


def write_half_started(workspace: Path, head: psutil.Process) -> None:
    """Record that `head` is being started, whole or not at all, readable by its owner only."""
    record = HalfStarted(pid=head.pid, created=head.create_time(), born=birth(head.pid))
    replace(workspace / START_FILE, json.dumps(asdict(record)).encode(), mode=0o600)


def half_started(workspace: Path) -> psutil.Process | None:
    """Return the live head whose start was begun and not finished, or None. Raise Corrupt for a file that is none."""
    path = workspace / START_FILE
    try:
        return head_process(HalfStarted(**json.loads(path.read_text())))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise Corrupt(f"{path} cannot be understood.", advice="Remove it if nothing starts there.") from error


def remove_half_started(workspace: Path) -> None:
    """The start is over, one way or the other."""
    (workspace / START_FILE).unlink(missing_ok=True)
