"""The head that a `kaizen up` has begun and not seen ready: the file by which others find it, however that one ended.

It lies beside `run.json`, which the head itself writes, and only when it is ready.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import psutil

from kaizen.run_state import Head, birth, head_process, read_head
from kaizen.storage.durable import replace

START_FILE = "start.json"


def write_half_started(workspace: Path, head: psutil.Process) -> None:
    """Record that `head` is being started, whole or not at all, readable by its owner only."""
    record = Head(pid=head.pid, created=head.create_time(), born=birth(head.pid))
    replace(workspace / START_FILE, json.dumps(asdict(record)).encode(), mode=0o600)


def half_started(workspace: Path) -> psutil.Process | None:
    """Return the live head whose start was begun and not finished, or None. Raise Corrupt for a file that is none."""
    head = read_head(workspace / START_FILE, Head)
    return head_process(head) if head else None


def remove_half_started(workspace: Path) -> None:
    """The start is over, one way or the other."""
    (workspace / START_FILE).unlink(missing_ok=True)
