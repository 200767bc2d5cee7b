"""`kaizen up`: start the head process, show its steps, wait until it answers."""

from __future__ import annotations

import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer

from kaizen.commands.client import Client, Endpoint
from kaizen.commands.half_started import half_started, remove_half_started, write_half_started
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json
from kaizen.commands.processes import end_tree, heeding_signals, start_head
from kaizen.config import LOOPBACK
from kaizen.config_sources import Loaded
from kaizen.errors import Conflict, DeadlineExceeded, KaizenError, PermanentError, Unavailable
from kaizen.run_state import LOG_FILE, RUN_FILE, STEPS_FILE, RunState, head_process, read_run_state

POLL_SECONDS = 0.2
LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One line of `head.status.jsonl`."""

    text: str
    done: bool
    note: bool = False  # no step: something that whoever starts it should know


def up(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="How long to wait until it answers.")] = 300,
) -> None:
    """Start Kaizen and leave it running. Does nothing if it runs already."""
    loaded = configuration(config)
    directory = loaded.settings.workspace.directory
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(directory):
        state = running(directory)
        already = state is not None
        state = state or _start(loaded, timeout_seconds, _quiet if as_json else _steps_shown(Terminal()))
    if as_json:
        print_json({"already_running": already, "url": state.url, "dashboard_url": state.dashboard_url})
    else:
        _welcome(Terminal(), state, loaded, already)


def running(directory: Path) -> RunState | None:
    """Return what runs in a workspace, or None."""
    state = read_run_state(directory)
    return state if state is not None and head_process(state) is not None else None


Shown = Callable[[Iterator[Step]], None]


def _start(loaded: Loaded, timeout_seconds: float, show: Shown) -> RunState:
    directory = loaded.settings.workspace.directory
    if left := half_started(directory):  # by an `up` that was killed
        end_tree(left)
    for stale in (RUN_FILE, STEPS_FILE):
        (directory / stale).unlink(missing_ok=True)
    with heeding_signals():
        head = start_head(directory, loaded.path)
        try:
            write_half_started(directory, head)
            show(_steps_until_ready(head, directory, time.monotonic() + timeout_seconds))
        except BaseException:  # an interrupt too: what was started here must not stay behind half made
            end_tree(head)
            remove_half_started(directory)  # not where a second interrupt broke the ending off: `down` looks for it
            raise
        remove_half_started(directory)
    state = read_run_state(directory)
    if state is None:
        raise Unavailable("The service was stopped while it started.", advice="Start it again.")
    return state


def _steps_until_ready(head: psutil.Process, directory: Path, deadline: float) -> Iterator[Step]:
    """Yield steps as the head reports them, until it is ready. Raises when it ends or takes too long."""
    seen = 0
    while True:
        steps = _read_steps(directory / STEPS_FILE)
        yield from steps[seen:]
        seen = len(steps)
        if _is_ready(directory, head):
            return
        if time.monotonic() > deadline:
            raise DeadlineExceeded(_with_log("It did not become ready in time.", directory), advice=_advice(directory))
        try:
            code = head.wait(POLL_SECONDS)
        except psutil.TimeoutExpired:
            continue
        raise PermanentError(_with_log(f"It ended with code {code}.", directory), advice=_advice(directory))


def _is_ready(directory: Path, head: psutil.Process) -> bool:
    state = running(directory)
    if state is None or state.pid != head.pid:
        return False
    try:
        with Client(Endpoint(state.url, "")) as client:
            return client.probe("/readyz")[0] == 200
    except KaizenError:
        return False  # not listening yet: asked again until the deadline


def _read_steps(path: Path) -> list[Step]:
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")  # a line without its end is still being written
    lines = (json.loads(line) for line in whole.splitlines())
    return [Step(str(line["step"]), bool(line["done"]), bool(line.get("note"))) for line in lines]


def _with_log(message: str, directory: Path) -> str:
    log = directory / LOG_FILE
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    return "\n".join([f"Kaizen did not start. {message}", *(f"  | {line}" for line in lines)])


def _advice(directory: Path) -> str:
    return f"Run `kaizen doctor`. The whole log is in {directory / LOG_FILE}."


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold the workspace's start lock, which the kernel frees when this process ends in any way."""
    with (directory / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("Another `kaizen up` is starting this workspace.", advice="Wait for it.") from error
        yield


# ---------------------------------------------------------------------------------------------- what is shown


def _quiet(steps: Iterator[Step]) -> None:
    for step in steps:
        if step.note:
            sys.stderr.write(f"{step.text}\n")


def _steps_shown(terminal: Terminal) -> Shown:
    def show(steps: Iterator[Step]) -> None:
        begun = time.monotonic()
        with terminal.spinner("starting") as spinner:
            for step in steps:
                if step.note:
                    terminal.line(f"  ! {step.text}", style="yellow")
                elif step.done:
                    terminal.line(f"  ✓ {step.text} ({time.monotonic() - begun:.1f} s)", style="green")
                    begun = time.monotonic()
                else:
                    spinner.update(step.text)

    return show


def _welcome(terminal: Terminal, state: RunState, loaded: Loaded, already: bool) -> None:
    terminal.line("Kaizen runs already." if already else "Kaizen runs.", style="bold green")
    terminal.pairs(
        {
            "API": state.url,
            "API docs": f"{state.url}/docs",
            "dashboard": state.dashboard_url,
            "local key": loaded.settings.workspace.directory / "local.key",
            "next": "kaizen ingest FOLDER; kaizen ask QUESTION; kaizen down",
        }
    )
    if loaded.settings.server.host not in LOOPBACK:
        terminal.line(f"It listens on {loaded.settings.server.host}: others can reach it.", style="yellow")
