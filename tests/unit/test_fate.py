"""Processes that learn of another's end, with real ones that are killed."""

from __future__ import annotations

import subprocess
import sys
import threading

from kaizen.fate import when_ended

SLEEPER = [sys.executable, "-c", "import threading; threading.Event().wait()"]


def test_the_end_of_a_process_that_is_killed_is_told() -> None:
    told = threading.Event()
    with subprocess.Popen(SLEEPER) as process:
        when_ended(process.pid, told.set)
        assert not told.wait(0.1)
        process.kill()
        assert told.wait(10)


def test_the_end_of_one_that_is_gone_is_told_at_once() -> None:
    told = threading.Event()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    when_ended(process.pid, told.set)
    assert told.wait(10)
