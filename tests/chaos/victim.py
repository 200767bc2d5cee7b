"""A process that is struck: it does what a test says, and dies, or is refused, at the N-th system call of a kind.

It is forked from a server that has imported the product once, and strace is attached before it begins, so that calls
are counted from its first step and a trial takes a tenth of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from shutil import which
from typing import Any

import pytest

from tests.chaos.without import with_all_defences

SYNC = "fsync,fdatasync"
_PRELOADED = (
    "tests.chaos.writer", "tests.chaos.small_index", "alembic.command", "jobs.ingest", "tests.chaos.trainer",
    "train.worker", "deepspeed.runtime.zero.muon.muon_optimizer",  # an engine imports it when it starts, in seconds
)  # fmt: skip
_PATIENCE_SECONDS = 120.0

Work = Callable[..., None]
"""What the process does: `work(tell, *arguments)`. What it tells is known here before its next step."""


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens to the `when`-th call (counted in each thread) of `calls`; strace's words. `fault`: signal=KILL."""

    calls: str
    fault: str
    when: int

    def options(self) -> list[str]:
        """Options of strace."""
        return ["-e", f"trace={self.calls}", "-e", f"inject={self.calls}:{self.fault}:when={self.when}"]


@dataclass(slots=True)
class Victim:
    """A process at work. `told`: what it told so far."""

    process: ForkServerProcess
    inbox: Connection
    told: list[Any] = field(default_factory=list)

    def hear(self, until: Callable[[list[Any]], bool]) -> bool:
        """Read what it tells until `until(told)`; False when it ended before."""
        while not until(self.told):
            if not wait([self.inbox], _PATIENCE_SECONDS):
                raise AssertionError(f"it says nothing for {_PATIENCE_SECONDS} s")
            try:
                self.told.append(self.inbox.recv())
            except EOFError:
                return False
        return True

    def drain(self) -> None:
        """Read what it has told already."""
        while self.inbox.poll():
            try:
                self.told.append(self.inbox.recv())
            except EOFError:
                return

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still lives."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)

    def end(self) -> int | None:
        """Hear the rest, wait for its end and return its exit code: -9 when it was killed."""
        self.hear(lambda told: False)
        self.process.join(_PATIENCE_SECONDS)
        return self.process.exitcode


@contextmanager
def victim(work: Work, *arguments: object, strike: Strike | None = None, log: str = os.devnull) -> Iterator[Victim]:
    """Start a process that does `work(tell, *arguments)`, and end it with the block; skips where strace may not."""
    if strike is not None and why_no_strace():
        pytest.skip(why_no_strace())
    context = nursery()
    inbox, outbox = context.Pipe(duplex=False)
    gate, opener = context.Pipe(duplex=False)
    process = context.Process(target=_live, args=(gate, outbox, work, arguments), daemon=True)
    process.start()
    outbox.close()
    gate.close()
    try:
        with struck_by(process.pid or 0, strike, log):
            opener.send("go")
            yield Victim(process, inbox)
            process.kill()
            process.join()
    finally:
        process.kill()
        process.join()
        inbox.close()
        opener.close()


def count_calls(work: Work, *arguments: object, calls: Mapping[str, str]) -> dict[str, int]:
    """How many calls of each kind (name -> strace's words) the thread that makes the most of them makes."""
    kinds = {call: name for name, words in calls.items() for call in words.split(",")}
    with tempfile.NamedTemporaryFile("r") as log:
        never = Strike(",".join(kinds), "signal=KILL", 65535)
        with victim(work, *arguments, strike=never, log=log.name) as one:
            assert one.end() == 0
        made = [(thread, call.partition("(")[0]) for thread, call, *_ in map(str.split, log) if "(" in call]
    counted = Counter((kinds[call], thread) for thread, call in made)
    return {name: max((times for (kind, _), times in counted.items() if kind == name), default=0) for name in calls}


def struck(work: Work, *arguments: object, strike: Strike | None = None) -> tuple[int | None, list[Any]]:
    """Let a process run to its end, however that comes; its exit code and all that it told."""
    with victim(work, *arguments, strike=strike) as one:
        code = one.end()
        return code, one.told


@cache
def nursery() -> ForkServerContext:
    """Where the processes come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    with with_all_defences():
        forkserver.ensure_running()
    return context


@cache
def why_no_strace() -> str:
    """Why nothing can be struck here; empty when it can."""
    program = which("strace")
    if program is None:
        return "strace is not installed (apt-get install strace)"
    tried = subprocess.run([program, "-o", os.devnull, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def _live(gate: Connection, outbox: Connection, work: Work, arguments: tuple[object, ...]) -> None:
    gate.recv()
    work(outbox.send, *arguments)


@contextmanager
def struck_by(pid: int, strike: Strike | None, log: str = os.devnull) -> Iterator[None]:
    """Have the calls of a process, and of its threads, struck inside the block; `log` gets a line for each."""
    if strike is None:
        yield
        return
    command = [which("strace") or "strace", "-f", "-p", str(pid), "-o", log, *strike.options()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert "attached" in line, line
        drain = threading.Thread(target=tracer.stderr.read, daemon=True)  # it says so of each thread: never block it
        drain.start()
        try:
            yield
        finally:
            tracer.terminate()
            tracer.wait()
            drain.join()
