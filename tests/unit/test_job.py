"""The frame of a program: what all have in common."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from kaizen.errors import ConfigError, NotFound
from kaizen.job import configured_workspace, job_parser, print_result, run_job


def options(*arguments: str) -> argparse.Namespace:
    return job_parser("jobs.nothing", "Does nothing.").parse_args(arguments)


def test_an_error_of_ours_is_one_line_and_an_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> None:
        raise NotFound("There is nothing.", advice="Look elsewhere.")

    assert run_job(fail, options()) == 1
    assert capsys.readouterr().err == f"not-found: {NotFound('There is nothing.', advice='Look elsewhere.')}\n"
    with pytest.raises(ZeroDivisionError):
        run_job(lambda _: print(1 / 0), options())


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
