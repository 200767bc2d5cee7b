"""The frame of a program: what all have in common."""

from __future__ import annotations

import argparse
import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socket import EAI_AGAIN, EAI_NONAME, gaierror

import pytest

from kaizen.errors import ConfigError, KaizenError, NotFound, Unavailable
from kaizen.job import configured_workspace, job_parser, print_result, run_job

ROOT = Path(__file__).parents[2]


def options(*arguments: str) -> argparse.Namespace:
    return job_parser("jobs.nothing", "Does nothing.").parse_args(arguments)


def failing(error: Exception) -> Callable[[argparse.Namespace], None]:
    def job(_: argparse.Namespace) -> None:
        raise error

    return job


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (NotFound("There is nothing."), 1, "not-found", "There is nothing."),
        (Unavailable("It is away."), 75, "unavailable", "It is away."),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 1, "permanent", "/a/b: Permission denied."),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), 75, "storage-full", "/a: No space left on device."),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 75, "unavailable", "Connection refused."),
        (ConnectionError("no cluster there"), 75, "unavailable", "no cluster there."),
        (TimeoutError(), 75, "unavailable", "TimeoutError."),
        (OSError(errno.EHOSTUNREACH, "No route to host"), 75, "unavailable", "No route to host."),
        (gaierror(EAI_AGAIN, "Try later"), 75, "unavailable", "Try later."),
        (gaierror(EAI_NONAME, "Name not known"), 1, "permanent", "Name not known."),
        (BlockingIOError(errno.EAGAIN, "Not now"), 75, "transient", "Not now."),
        (InterruptedError(errno.EINTR, "Interrupted"), 75, "transient", "Interrupted."),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 75, "transient", "Cannot allocate memory."),
        (OSError(errno.EMFILE, "Too many open files", "/a"), 75, "transient", "/a: Too many open files."),
    ],
)
def test_an_error_is_told_with_advice_and_says_whether_to_try_again(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str, message: str
) -> None:
    assert run_job(failing(error), options()) == status
    assert capsys.readouterr().err.startswith(f"error: {message}\n")
    assert run_job(failing(error), options("--json")) == status
    told = json.loads(capsys.readouterr().err)["error"]
    assert (told["code"], told["message"]) == (code, message)
    assert told["advice"] or isinstance(error, KaizenError)


def test_what_is_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_job(lambda _: print(1 / 0), options())


@pytest.mark.parametrize("count", [1, 100_000])
def test_a_reader_who_has_seen_enough_is_no_error(count: int) -> None:
    code = (
        "import sys; from kaizen.job import *\n"
        f"write = lambda _: [print_result({{}}) for _ in range({count})]\n"
        "sys.exit(run_job(write, job_parser('jobs.nothing', '').parse_args([])))"
    )
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert job.stdout is not None
    job.stdout.close()
    job.stdout = None
    assert job.communicate() == (None, b"")
    assert job.returncode == 1


def test_a_socket_that_broke_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(failing(BrokenPipeError(errno.EPIPE, "Broken pipe")), options()) == 75
    assert capsys.readouterr().err.startswith("error: Broken pipe.\n")


def test_a_result_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(lambda given: print_result({"json": given.json}), options("--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"json": True}


def test_the_workspace_is_the_configured_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "kaizen.toml"
    config.write_text('[workspace]\ndirectory = "here"\n')
    workspace = configured_workspace(options("--config", str(config)))
    with workspace.ledger:
        assert workspace.settings.workspace.directory == tmp_path / "here"
    with pytest.raises(NotFound, match="no release yet"):
        workspace.release()
    monkeypatch.setenv("RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE", "1")
    with pytest.raises(ConfigError, match="run code"):
        configured_workspace(options("--config", str(config)))
