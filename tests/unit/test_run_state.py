"""run.json: written whole and private, believed only while its process lives."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kaizen.errors import Corrupt
from kaizen.run_state import RUN_FILE, RunState, head_process, read_run_state, remove_run_state, write_run_state


def state_of(pid: int) -> RunState:
    return RunState(
        pid=pid,
        created=psutil.Process(pid).create_time(),
        ray_address="127.0.0.1:6379",
        namespace="kaizen",
        url="http://127.0.0.1:8420",
        dashboard_url="http://127.0.0.1:8265",
        jobs_address="http://127.0.0.1:8265",
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


def test_a_process_is_known_by_id_and_creation_time() -> None:
    state = state_of(os.getpid())
    process = head_process(state)
    assert process is not None and process.pid == os.getpid()
    assert head_process(replace(state, created=state.created - 60)) is None


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
