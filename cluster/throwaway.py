"""A whole installation for a while: started in a folder of its own, used over HTTP like any other, ended and removed.

For evaluation, for measurements and for tests. It takes the caller's settings but never the caller's workspace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kaizen.commands.processes import end_tree
from kaizen.config import Settings
from kaizen.config_sources import PREFIX
from kaizen.errors import Unavailable
from kaizen.printed import in_words
from kaizen.run_state import KEY_FILE, LOG_FILE, RunState, read_run_state
from kaizen.security.keys import Secret
from kaizen.steward.process import FOLDER as STEPS

START_SECONDS = 300.0
POLL_SECONDS = 0.2
LOG_LINES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A running installation. `config` is its configuration file, `workspace` its directory."""

    config: Path
    workspace: Path
    state: RunState
    key: Secret

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of a caller who may do everything."""
        return {"Authorization": f"Bearer {self.key.reveal()}"}

    def run(self, module: str, *arguments: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a module (`jobs.ingest`) against it; raises Unavailable when it fails.

        Unless `quiet`, what it tells on standard error is seen as it comes.
        """
        command = [sys.executable, "-P", "-m", module, *arguments, "--config", str(self.config)]
        errors = subprocess.PIPE if quiet else None
        done = subprocess.run(  # noqa: S603 (our own modules)
            command, env=environment(), check=False, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        if done.returncode:
            told = f": {in_words(_tail(done.stderr))}" if quiet else "."
            raise Unavailable(f"{module} failed{told}", advice="Read what it says above.")
        return done

    def log_end(self) -> str:
        """The last lines of its log, and of what the steward ran last: they are gone when it has ended."""
        steps = sorted((self.workspace / STEPS).glob("*.log"), key=lambda log: log.stat().st_mtime)
        logs = [self.workspace / LOG_FILE, *steps[-1:]]
        return "\n".join(f"{log.name}:\n{_tail(log.read_text(errors='replace'))}" for log in logs)


@contextmanager
def installation(
    settings: Settings, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Installation]:
    """Start an installation with `settings` and `overrides` (section -> field -> value); remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="kaizen-run-") as folder:
        config = write_config(Path(folder), settings, overrides or {})
        with started(config) as running:
            yield running


@contextmanager
def started(config: Path) -> Iterator[Installation]:
    """Start the installation of a configuration that `write_config` wrote; end it, and keep its workspace."""
    workspace = config.parent / "workspace"
    workspace.mkdir(mode=0o700, exist_ok=True)
    with (workspace / LOG_FILE).open("w") as log:
        command = [sys.executable, "-P", "-m", "cluster.head", "--config", str(config), "--with", str(os.getpid())]
        # A group and not a session of its own: Linux shares the cores between sessions first (autogroup), and who calls
        # would wait behind all that the installation does.
        head = subprocess.Popen(  # noqa: S603 (our own module)
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
        process = psutil.Process(head.pid)  # while it is surely there: a process that ended cannot be looked up
    try:
        state = _wait_until_ready(head, workspace)
        key = Secret((workspace / KEY_FILE).read_text().strip())
        yield Installation(config=config, workspace=workspace, state=state, key=key)
    finally:
        end_tree(process)
        head.wait()


def write_config(folder: Path, settings: Settings, overrides: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write `settings` as a file for an installation whose whole state lies in `folder`."""
    values = settings.model_dump(mode="json", exclude_none=True)
    own = {
        "workspace": {"directory": "workspace"},
        "cluster": {"address": "local", "dashboard_port": 0},
        "ledger": {"url": ""},
        "objects": {"uri": ""},
        "server": {"host": "127.0.0.1", "port": 0},
    }
    for changes in (own, overrides):
        for section, fields in changes.items():
            values[section].update(fields)
    lines = []
    for section, fields in values.items():
        lines.append(f"[{section}]")
        # A JSON string, number, boolean or list is the same in TOML.
        lines += [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    path = folder / "kaizen.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def environment() -> dict[str, str]:
    """This process's environment without settings: they would win over the file."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def _wait_until_ready(head: subprocess.Popen[bytes], workspace: Path) -> RunState:
    pause = threading.Event()
    for _ in range(int(START_SECONDS / POLL_SECONDS)):
        state = read_run_state(workspace)
        if state is not None and state.pid == head.pid:
            return state
        if head.poll() is not None:
            break
        pause.wait(POLL_SECONDS)
    raise Unavailable(
        f"Kaizen did not start: {_tail((workspace / LOG_FILE).read_text())}", advice="Run `kaizen doctor`."
    )


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LOG_LINES:])


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON object on the last line that a job printed."""
    record: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return record
