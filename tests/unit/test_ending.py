"""How a process hears that it is to end, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import signal, sys
from cluster.ending import Ending

class Lost:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

try:
    with Ending() as ending:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
        ending.heed()
        if "{how}" == "lost":
            Lost()  # Python drops what is raised in it
        if "{how}" == "holder":
            ending.come_with(int(sys.stdin.readline()))
        print("ready", flush=True)
        ending.wait()
finally:
    signal.raise_signal(signal.SIGTERM)  # a second one does not break off what puts things in order
    print("in order", flush=True)
"""


def program(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("{how}", how)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    with program("signal") as process:
        assert said(process) == "ready\n"
        process.send_signal(number)
        assert said(process) == "in order\n"


def test_a_signal_that_was_lost_ends_it_once_it_waits() -> None:
    with program("lost") as process:
        assert [said(process), said(process)] == ["ready\n", "in order\n"]
        assert process.wait(10) == 0


def test_the_end_of_its_holder_ends_it() -> None:
    with subprocess.Popen(["sleep", "600"]) as holder, program("holder") as process:  # noqa: S607
        assert process.stdin is not None
        print(holder.pid, file=process.stdin, flush=True)
        assert said(process) == "ready\n"
        holder.kill()
        assert said(process) == "in order\n"
