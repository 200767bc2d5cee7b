"""A release that was learnt again is judged on the data of this time, and what was said of it before stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs import judge
from kaizen.config import LedgerSettings
from kaizen.evaluation.verdict import Evidence
from kaizen.records import Candidate, Dataset, Rollout
from kaizen.storage.ledger import Ledger
from kaizen.storage.object_store import open_store
from kaizen.workspace import Workspace


@pytest.fixture
def workspace(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Workspace]:
    """Three data sets, of which a candidate was learnt from the first."""
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite")
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        for number in (1, 2, 3):
            ledger.datasets.record(Dataset(id=f"d{number}", at=float(number), artifact=f"datasets/{number}", record={}))
        parts: dict[str, Any] = {name: {"fingerprint": name} for name in ("generator", "prompt")}
        stable = ledger.releases.record(parts)
        ledger.rollout.change(Rollout(version=0, stable=stable.id), by="test", kind="configure", reason="")
        release = ledger.releases.record({**parts, "retrieval": {"fingerprint": "x"}}, parent=stable.id)
        record = {"dataset": "d1", "parent": stable.id}
        ledger.candidates.record(Candidate(release=release.id, at=1.0, rung=1, turn="turn_1", record=record))
        yield cast("Workspace", SimpleNamespace(ledger=ledger, store=open_store(str(tmp_path / "objects"))))


def judged_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dataset: str | None) -> tuple[str, str]:
    """Judge the candidate; return the data set that was read, and the report's name."""
    read: list[str] = []
    monkeypatch.setattr(judge, "read_dataset", lambda _store, artifact: read.append(artifact))
    monkeypatch.setattr(judge, "_evidence", lambda _workspace, _case, _limits: (Evidence(cpu_s=1.0), 7))
    (candidate,) = workspace.ledger.candidates.list()
    report = judge.judge_release(workspace, candidate.release, dataset=dataset)
    assert workspace.ledger.candidates.get(candidate.release).report == report["name"]
    return read[0], report["name"]


def test_on_the_data_set_that_is_named_or_the_one_it_was_learnt_from(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [judged_on(workspace, monkeypatch, name)[0] for name in (None, "d2")] == ["datasets/1", "datasets/2"]


def test_an_earlier_report_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (judged_on(workspace, monkeypatch, name)[1] for name in ("d1", "d2"))
    assert first != second
    (candidate,) = workspace.ledger.candidates.list()
    for name in (first, second):
        assert name.startswith(f"reports/{candidate.release}/")
        assert candidate.release.encode() in workspace.store.get_bytes(f"{name}/report.json")
