"""What `python -m jobs.loop` refuses before it works, and that what it found is never lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.throwaway import Installation
from jobs import loop
from kaizen.errors import DeadlineExceeded
from kaizen.run_state import LOG_FILE

QUALITY = {"ndcg@10": 0.5, "mrr@10": 0.5, "recall@100": 0.5}
RESULT = {
    "before": QUALITY, "after": QUALITY, "rungs": [], "outcome": "promoted", "release": "r2", "reason": "x",
    "seconds": 300,
}  # fmt: skip


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each run."""
    runs: list[object] = []

    def run(*arguments: object) -> dict[str, Any]:
        runs.append(arguments)
        return RESULT

    monkeypatch.setattr(loop.Loop, "run", run)
    monkeypatch.setattr(loop, "write_stdlib_collection", lambda _: None)
    return runs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--noise", "2"], "noise and hostile are shares"),
        (["--hostile", "-1"], "noise and hostile are shares"),
        (["--sessions", "0"], "Nobody would come"),
        (["--chart", "nope/loop.svg"], "cannot be written to nope/loop.svg"),
        (["--chart", "."], "cannot be written to ."),
        (["--chart", "a file/loop.svg"], "cannot be written to a file/loop.svg"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    begun: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    options: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    assert loop.main([*options, "--json"]) == 1
    assert said in capsys.readouterr().err
    assert begun == []


def test_the_result_is_printed_whatever_becomes_of_the_chart(
    begun: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = tmp_path / "loop.svg"
    assert loop.main(["--chart", str(drawn)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out.splitlines()[-1])["outcome"] == "promoted"
    assert f"The chart is in {drawn}" in told.err
    assert drawn.read_text().startswith("<svg")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert loop.main(["--chart", str(drawn), "--json"]) == 75
    told = capsys.readouterr()
    assert json.loads(told.out)["release"] == "r2"
    assert "No space left" in told.err
    assert len(begun) == 2


def test_a_steward_that_takes_too_long_leaves_the_end_of_its_logs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / LOG_FILE).write_text("the head said this\n")
    (tmp_path / "steward").mkdir()
    (tmp_path / "steward" / "1-jobs.curate.log").write_text("the step said that\n")
    running = Installation(config=tmp_path, workspace=tmp_path, state=None, key=None)  # type: ignore[arg-type]
    monkeypatch.setattr(loop, "LEARNING_SECONDS", -1.0)
    workspace: Any = SimpleNamespace()
    with pytest.raises(DeadlineExceeded, match=r"(?s)the head said this.*jobs.curate.log:\nthe step said that"):
        loop.Loop(quiet=True)._learned(running, workspace)
