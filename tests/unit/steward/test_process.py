"""A step's process: what it is told, what is made of its end, and that it ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kaizen.config import Fleet, Learning, Settings, Workspace
from kaizen.config_sources import load_settings
from kaizen.steward.messages import Ended, Run
from kaizen.steward.process import StepRunner

ROOT = Path(__file__).parents[3]
STAND_IN = "tests.unit.steward.stand_in"


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs the stand-in with these arguments."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*arguments: str, seconds: float = 20) -> Ended:
        settings = Settings(
            workspace=Workspace(directory=tmp_path), fleet=Fleet(shards=7), learning=Learning(step_seconds=seconds)
        )
        return StepRunner(settings).run(Run(id="abc", module=STAND_IN, arguments=arguments))

    return run


def test_a_step_yields_the_cpu_and_runs_under_the_stewards_settings(
    step: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "RAY_JOB_ID", "KAIZEN_FLEET_SHARDS", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "1")
    before = os.nice(0)
    ended = step("tell")
    assert ended.output is not None
    told = dict(ended.output)
    assert told.pop("nice") == min(19, before + 10)
    written = tmp_path / "again.toml"
    written.write_text(told.pop("config"))
    assert load_settings(written, environ={}).settings.fleet.shards == 7
    assert told == {
        "OMP_NUM_THREADS": None, "RAY_JOB_ID": None, "KAIZEN_FLEET_SHARDS": None, "RAY_AUTH_MODE": "1",
    }  # fmt: skip
    assert ended.cpu_s > 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fail", "not-found"), ("There is nothing. Make some.", "not-found", "permanent")),
        (("fail", "bad-model"), ("It gives NaN. Learn another.", "bad-model", "permanent")),
        (("fail", "writer-stopped"), ("The disk.", "writer-stopped", "")),
        (("fail", "conflict"), ("Somebody was first.", "conflict", "")),
        (("fail", "unavailable"), ("Not sealed yet.", "unavailable", "transient")),
        (("fail", "permanent"), ("/a: Input/output error.", "permanent", "")),
        (("break",), ("KeyError: 'x'", "", "")),
        (("die",), ("It was ended by signal 9.", "", "transient")),
        (("nothing",), ("It printed no result.", "", "")),
    ],
)
def test_how_a_step_failed(step: Callable[..., Ended], arguments: tuple[str, ...], expected: tuple[str, ...]) -> None:
    ended = step(*arguments)
    assert (ended.output, ended.error.partition(" (log")[0], ended.code) == (None, *expected[:2])
    assert (ended.transient, ended.permanent) == (expected[2] == "transient", expected[2] == "permanent")


def test_a_step_that_takes_too_long_is_stopped(step: Callable[..., Ended], tmp_path: Path) -> None:
    ended = step("hang", str(tmp_path / "pid"), seconds=3)
    assert (ended.error.partition(" (log")[0], ended.transient) == ("It took too long and was stopped.", False)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_a_step_ends_with_the_steward(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from kaizen.config import *; from kaizen.steward.process import *\n"
        f"runner = StepRunner(Settings(workspace=Workspace(directory=Path({str(tmp_path)!r}))))\n"
        f"runner.run(Run(id='abc', module={STAND_IN!r}, arguments=('hang', {str(tmp_path / 'pid')!r})))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    child = psutil.Process(int(_read(tmp_path / "pid")))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    child.wait(timeout=10)


def _read(path: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
    raise AssertionError("the step did not start")
