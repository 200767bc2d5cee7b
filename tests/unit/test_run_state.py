"""run.json: written whole and private, believed only while its process lives."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kaizen import run_state
from kaizen.errors import Corrupt
from kaizen.run_state import (
    RUN_FILE,
    RunState,
    birth,
    head_process,
    read_run_state,
    remove_run_state,
    write_run_state,
)


def state_of(pid: int) -> RunState:
    return RunState(
        pid=pid,
        created=psutil.Process(pid).create_time(),
        ray_address="127.0.0.1:6379",
        namespace="kaizen",
        url="http://127.0.0.1:8420",
        dashboard_url="http://127.0.0.1:8265",
        jobs_address="http://127.0.0.1:8265",
        born=birth(pid),
    )


def test_what_is_written_is_read_and_is_private(tmp_path: Path) -> None:
    state = state_of(os.getpid())
    write_run_state(tmp_path, state)
    assert read_run_state(tmp_path) == state
    assert stat.S_IMODE((tmp_path / RUN_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_nothing_runs_where_there_is_no_file(tmp_path: Path) -> None:
    assert read_run_state(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"pid": 1'])
def test_a_torn_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(Corrupt):
        read_run_state(tmp_path)


@pytest.mark.parametrize("seconds", [0, 3, -3600])
def test_a_process_is_known_by_id_and_birth_however_the_clock_was_set(seconds: float) -> None:
    """Creation times move with the clock: the running installation was not recognised, and `up` started another one."""
    state = replace(state_of(os.getpid()), created=psutil.Process().create_time() - seconds)
    process = head_process(state)
    assert process is not None and process.pid == os.getpid()
    boot, ticks = state.born.split()
    assert head_process(replace(state, born=f"{boot} {int(ticks) - 1}")) is None
    assert head_process(replace(state, born=f"another-boot {ticks}")) is None


def test_a_command_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_state, "PROC", tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) S (b) {' '.join(['S', *map(str, range(4, 53))])}\n")
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("b00t\n")
    assert birth(7) == "b00t 22"


def test_without_proc_or_as_an_earlier_version_wrote_it_the_creation_time_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run_state(tmp_path, state_of(os.getpid()))
    content = json.loads((tmp_path / RUN_FILE).read_text())
    del content["born"]
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    state = read_run_state(tmp_path)
    assert state is not None and head_process(state) is not None
    assert head_process(replace(state, created=state.created - 60)) is None
    monkeypatch.setattr(run_state, "PROC", tmp_path / "nowhere")
    assert birth(os.getpid()) == ""


def test_a_dead_process_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    state = state_of(child.pid)
    child.communicate(b"\n")
    assert head_process(state) is None


def test_only_the_own_file_is_removed(tmp_path: Path) -> None:
    state = state_of(os.getpid())
    write_run_state(tmp_path, state)
    remove_run_state(tmp_path, replace(state, created=1.0))
    assert read_run_state(tmp_path) == state
    remove_run_state(tmp_path, state)
    assert read_run_state(tmp_path) is None
