"""Running a step's command as a child process, low in priority, and taking in what it prints."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from kaizen.config import Settings
from kaizen.config_sources import PREFIX
from kaizen.errors import Conflict, KaizenError, PermanentError, TransientError, WriterStopped
from kaizen.printed import error_of, last_object, words_on
from kaizen.steward.messages import Ended, Run
from kaizen.steward.turn import JUDGE

FOLDER = "steward"  # of the workspace
_ERROR_CHARACTERS = 500


def _codes(base: type[KaizenError]) -> frozenset[str]:
    return frozenset({base.code}.union(*(_codes(kind) for kind in base.__subclasses__())))


_CODES, _TRANSIENT = _codes(KaizenError), _codes(TransientError)
# What would fail again in the same way. The next process may win the race that this one lost, and writes for itself;
# and an error of the system that has no name of ours, of the disk say, may pass.
_PERMANENT = _codes(PermanentError) - {PermanentError.code, Conflict.code, WriterStopped.code}


class StepRunner:
    """Runs steps, one at a time, under exactly these settings.

    Attributes:
        folder: logs of the steps, and `kaizen.toml`, with which any step can be run again by hand.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.workspace.directory.absolute() / FOLDER
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._config = self.folder / "kaizen.toml"
        self._seconds = settings.learning.step_seconds
        _write_config(self._config, settings)

    def run(self, step: Run) -> Ended:
        """Run a step to its end."""
        log = self.folder / f"{step.id}-{step.module}.log"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with log.open("ab") as errors:
            status, printed = self._run(step, errors.fileno())
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        return _ended(step, status, printed, log, cpu_s)

    def _run(self, step: Run, errors: int) -> tuple[int | None, str]:
        """Exit status (None: out of time) and standard output."""
        wrapper = [sys.executable, "-P", "-m", "kaizen.steward.step", str(os.getpid())]
        command = [*wrapper, step.module, *step.arguments, "--config", str(self._config), "--json"]
        # A group and not a session of its own: Linux shares the cores between sessions first (autogroup), and a step
        # that is nice would be so only to itself.
        child = subprocess.Popen(  # noqa: S603 (our own modules)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
            env=_environment(os.environ), cwd=self.folder, process_group=0,
        )  # fmt: skip
        try:
            printed, _ = child.communicate(timeout=self._seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return None, ""
        return child.returncode, printed


def _ended(step: Run, status: int | None, printed: str, log: Path, cpu_s: float) -> Ended:
    output = last_object(printed) if status == 0 else None
    if output is not None:
        # What ran on the cluster is no child of ours, but the step knows; a judgement tells the cost of another step.
        told = float(output["cost"]["cpu_s"]) if step.module != JUDGE and "cost" in output else 0.0
        return Ended(output=output, at=time.time(), cpu_s=max(cpu_s, told))
    why, code = _why(status, log)
    transient = (status is not None and status < 0) or code in _TRANSIENT
    return Ended(
        error=f"{why} (log: {log.name})", code=code, transient=transient, permanent=code in _PERMANENT,
        at=time.time(), cpu_s=cpu_s,
    )  # fmt: skip


def _why(status: int | None, log: Path) -> tuple[str, str]:
    """What happened, and the code of the error: our commands end with it as a line of JSON."""
    if status is None:
        return "It took too long and was stopped.", ""
    if status <= 0:
        return f"It was ended by signal {-status}." if status else "It printed no result.", ""
    printed = log.read_text(errors="replace")
    error = error_of(printed)
    if error is not None and error.get("code") in _CODES:
        return words_on(error)[:_ERROR_CHARACTERS], error["code"]
    lines = printed.strip().splitlines()
    return (lines[-1][:_ERROR_CHARACTERS] if lines else f"It ended with status {status}."), ""


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without settings (the file has them all), and without what Ray told the steward's own process: a step may use
    all CPUs and GPUs, and finds the cluster by itself."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(PREFIX) and (not name.startswith("RAY_") or name.startswith("RAY_AUTH_"))
    }
    kept.pop("OMP_NUM_THREADS", None)
    if not kept.get("CUDA_VISIBLE_DEVICES"):
        kept.pop("CUDA_VISIBLE_DEVICES", None)
    return kept


def _write_config(path: Path, settings: Settings) -> None:
    lines = []
    for section, values in settings.model_dump(mode="json", exclude_none=True).items():
        # A JSON string, number, boolean or list is the same in TOML.
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    partial = path.with_suffix(f".{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(path)
