"""`kaizen up`, `status` and `down` on a real process that stands in for the cluster's head."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kaizen.cli import main
from kaizen.commands import starting
from kaizen.commands.half_started import START_FILE, half_started
from kaizen.commands.processes import end_tree
from kaizen.run_state import RUN_FILE, STEPS_FILE, read_run_state

ROOT = Path(__file__).parents[2]
HEAD = """
import json, signal, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import psutil
from kaizen.config_sources import load_settings
from kaizen.run_state import RunState, write_run_state

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        releases = {"stable": "r1", "releases": [{"id": "r1"}]}
        status = {"ledger": {"head": 3}, "shards": {"shard-0": {"seq": 3, "kinds": ["flat"]}}}
        found = {"/readyz": {"ready": True}, "/v1/status": status, "/v1/releases": releases}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found[self.path]).encode())

directory = load_settings().settings.workspace.directory
with (directory / "head.status.jsonl").open("w") as steps:
    for done in (False, True):
        print(json.dumps({"step": "starting parts", "done": done}), file=steps)
    print(json.dumps({"step": "r2 was taken back", "done": True, "note": True}), file=steps)
if (directory.parent / "fail").exists():
    sys.exit("the reason why")
if (directory.parent / "slow").exists():
    threading.Event().wait()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
me = psutil.Process()
write_run_state(directory, RunState(pid=me.pid, created=me.create_time(), ray_address="", namespace="kaizen",
    url=f"http://127.0.0.1:{server.server_port}", dashboard_url="http://d", jobs_address=""))
server.serve_forever(0.01)
child.kill()
child.wait()
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace whose `cluster.head` is the one above."""
    (tmp_path / "code" / "cluster").mkdir(parents=True)
    (tmp_path / "code" / "cluster" / "__init__.py").touch()
    (tmp_path / "code" / "cluster" / "head.py").write_text(HEAD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "code"), str(ROOT)]))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / ".kaizen"
    for child in psutil.Process().children(recursive=True):
        child.kill()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_service_comes_up_once_and_goes_down_whole(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "up")
    assert (code, "✓ starting parts" in out, "Kaizen runs." in out) == (0, True, True)
    assert "  ! r2 was taken back\n" in out
    state = read_run_state(workspace)
    assert state is not None
    tree = [psutil.Process(state.pid), *psutil.Process(state.pid).children(recursive=True)]
    assert len(tree) == 2

    again = json.loads(run(capsys, "up", "--json")[1])
    assert again == {"already_running": True, "url": state.url, "dashboard_url": "http://d"}
    report = json.loads(run(capsys, "status", "--json")[1])
    assert report == {
        "ready": True,
        "readiness": {"ready": True},
        "status": {"ledger": {"head": 3}, "shards": {"shard-0": {"seq": 3, "kinds": ["flat"]}}},
        "releases": {"stable": "r1", "releases": [{"id": "r1"}]},
    }
    shown = run(capsys, "status")[1].split()
    assert [word for word in ("ready", "shard-0", "flat", "r1", "True") if word not in shown] == []

    ended = json.loads(run(capsys, "down", "--json")[1])
    assert (ended["was_running"], len(ended["stopped"]), ended["killed"]) == (True, 2, [])
    assert psutil.wait_procs(tree, timeout=1)[1] == []
    assert not (workspace / RUN_FILE).exists()
    assert json.loads(run(capsys, "down", "--json")[1])["was_running"] is False
    assert run(capsys, "status")[0] == 75


def test_a_start_that_fails_shows_the_log(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.parent / "fail").touch()
    code, _, error = run(capsys, "up")
    assert (code, "It ended with code 1." in error, "  | the reason why" in error) == (1, True, True)
    assert str(workspace / "head.log") in error
    assert not (workspace / RUN_FILE).exists()


def lives(process: psutil.Process) -> bool:
    """Where nobody collects orphans, one that has ended stays as a zombie."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@contextmanager
def slow_start(workspace: Path) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """A `kaizen up` whose head is not ready yet, and that head."""
    (workspace.parent / "slow").touch()
    with subprocess.Popen([sys.executable, "-m", "kaizen.cli", "up"], stdout=subprocess.DEVNULL) as up:
        deadline = time.monotonic() + 20
        while (head := half_started(workspace)) is None or not (workspace / STEPS_FILE).exists():
            assert time.monotonic() < deadline and up.poll() is None
            time.sleep(0.02)
        try:
            yield up, head
        finally:
            for process in (up, head):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.mark.usefixtures("as_in_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_start_that_is_told_to_end_leaves_no_head(workspace: Path, number: signal.Signals) -> None:
    with slow_start(workspace) as (up, head):
        up.send_signal(number)
        assert up.wait(timeout=20) == 128 + number
        assert not lives(head)
    assert half_started(workspace) is None and not (workspace / START_FILE).exists()


def test_a_start_that_was_killed_is_found_by_down(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with slow_start(workspace) as (up, head):
        up.kill()
        up.wait()
        ended = json.loads(run(capsys, "down", "--json")[1])
        assert (ended["was_running"], len(ended["stopped"]), lives(head)) == (True, 1, False)
    assert json.loads(run(capsys, "down", "--json")[1])["was_running"] is False


def test_a_start_whose_ending_was_broken_off_is_found_by_down(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    (workspace.parent / "slow").touch()
    monkeypatch.setattr(starting, "_quiet", interrupted)
    monkeypatch.setattr(starting, "end_tree", interrupted)
    assert run(capsys, "up", "--json")[0] != 0
    head = half_started(workspace)
    assert head is not None
    assert json.loads(run(capsys, "down", "--json")[1])["was_running"] is True
    assert not lives(head) and not (workspace / START_FILE).exists()


@pytest.mark.parametrize(("content", "code"), [('{"pid": 1, "created": 0.0, "born": "x", "later": 1}', 0), ("{", 1)])
def test_down_ends_what_runs_whatever_a_start_left_behind(
    workspace: Path, capsys: pytest.CaptureFixture[str], content: str, code: int
) -> None:
    run(capsys, "up")
    state = read_run_state(workspace)
    assert state is not None
    head = psutil.Process(state.pid)
    (workspace / START_FILE).write_text(content)
    assert run(capsys, "down")[0] == code
    assert not lives(head)


def test_a_start_that_was_killed_is_ended_by_the_next(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with slow_start(workspace) as (up, head):
        up.kill()
        up.wait()
        (workspace.parent / "slow").unlink()
        assert json.loads(run(capsys, "up", "--json")[1])["already_running"] is False
        state = read_run_state(workspace)
        assert state is not None and state.pid != head.pid and not lives(head)
    assert not (workspace / START_FILE).exists()
    run(capsys, "down")


def test_the_log_is_private(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "up")
    assert (workspace / "head.log").stat().st_mode & 0o077 == 0
    assert workspace.stat().st_mode & 0o077 == 0
    run(capsys, "down")


def test_a_killed_head_is_seen_and_a_new_one_started(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "up")
    first = read_run_state(workspace)
    assert first is not None
    head = psutil.Process(first.pid)
    children = head.children()
    head.kill()
    head.wait()
    for child in children:
        child.kill()
    assert run(capsys, "status")[0] == 75
    _, out, error = run(capsys, "up", "--json")
    assert (json.loads(out)["already_running"], error) == (False, "r2 was taken back\n")
    assert read_run_state(workspace) != first
    run(capsys, "down")


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


def test_what_does_not_stop_is_killed() -> None:
    head = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert head.stdout is not None
    with head.stdout:
        assert head.stdout.readline() == b"ready\n"
        ended = end_tree(psutil.Process(head.pid), grace_seconds=0.05, follow_seconds=0.05)
    assert (ended.stopped, len(ended.killed)) == ((), 1)
    head.wait(timeout=5)
