"""What `kaizen evaluate` refuses before it works, and what it tells while it does; on stand-ins of an installation."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.throwaway import Installation
from jobs import evaluate
from kaizen.errors import Unavailable
from kaizen.run_state import RunState
from kaizen.security.keys import Secret
from tests.unit.test_collection import HEADER

FIGURES = {"ndcg@10": 1.0, "recall@100": 1.0, "mrr@10": 1.0, "p50_ms": 1.0, "p99_ms": 1.0}
TAKEN = {"seq": 1, "chunks_per_s": 2.0, "documents": 1, "chunks": 1, "quarantined": 0}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "x"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "why"}\n')
    (tmp_path / "qrels.tsv").write_text(f"{HEADER}q\td\t1\n")
    return tmp_path


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was run in the stand-in, and whether quietly; empty while nothing has started."""
    ran: list[tuple[str, bool]] = []

    class Running:
        def run(self, module: str, *_: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
            ran.append((module, quiet))
            return subprocess.CompletedProcess([], 0, stdout=json.dumps(TAKEN))

    @contextmanager
    def installation(*_: object) -> Iterator[Any]:
        ran.append(("start", True))
        yield Running()

    monkeypatch.setattr(evaluate, "installation", installation)
    monkeypatch.setattr(evaluate, "_measure", lambda *_, **__: FIGURES)
    return ran


@pytest.mark.parametrize("most", ["0", "-3", "many"])
def test_a_number_of_queries_that_cannot_be_is_refused_at_once(
    dataset: Path, begun: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str], most: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate.main(["--dataset", str(dataset), f"--max-queries={most}"])
    assert ended.value.code == 2
    assert "--max-queries: it is a whole number from 1" in capsys.readouterr().err
    assert begun == []


def test_a_query_that_is_too_long_is_refused_at_once(
    dataset: Path, begun: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "x" * 4097}))
    assert evaluate.main(["--dataset", str(dataset), "--json"]) == 1
    assert "'q' has 4097 characters" in capsys.readouterr().err
    assert begun == []


def test_what_goes_on_is_told_on_standard_error(
    dataset: Path, begun: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate.main(["--dataset", str(dataset), "--json"]) == 0
    quietly = capsys.readouterr()
    assert (json.loads(quietly.out)["queries"], quietly.err) == (1, "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert evaluate.main(["--dataset", str(dataset), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["hybrid"] == FIGURES
    for step in ("Starting an installation", "Taking the documents in", "Asking 1 queries"):
        assert step in told.err
    assert begun == [("start", True), ("jobs.ingest", True), ("start", True), ("jobs.ingest", False)]


def test_what_a_job_tells_is_let_through_and_its_end_is_kept_when_nobody_sees_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = RunState(pid=1, created=0, ray_address="", namespace="", url="", dashboard_url="", jobs_address="")
    running = Installation(config=tmp_path / "none.toml", workspace=tmp_path, state=state, key=Secret("k"))
    with pytest.raises(Unavailable, match=r"jobs\.collect failed: There is no configuration file at .*none\.toml\. "):
        running.run("jobs.collect", "--json")
    assert capfd.readouterr().err == ""
    with pytest.raises(Unavailable, match=r"jobs\.collect failed\. Read"):
        running.run("jobs.collect", "--json", quiet=False)
    assert "none.toml" in capfd.readouterr().err
