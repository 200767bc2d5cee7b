"""What `jobs.curate` reads: all that there is, or what lies between bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import curate as job
from kaizen.config import Settings
from kaizen.learning.curation import ChunkText
from kaizen.records import Rollout
from kaizen.workspace import Workspace, open_workspace
from tests.unit.learning.world import impression, judgement

CHUNKS = ["a.md", "b.md", "c.md"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """People asked ten things, and clicked on the first chunk of each; the index is not looked at."""
    parts = {"embedder": {"fingerprint": "e"}, "index": {"chunking": {"max_tokens": 96}}}
    monkeypatch.setattr(
        job, "_texts_of", lambda _workspace, _release: lambda places: dict.fromkeys(places, ChunkText("", "A pump"))
    )
    opened = open_workspace(Settings.model_validate({"workspace": {"directory": tmp_path / "w"}}))
    with opened.ledger:
        release = opened.ledger.releases.record(parts)
        opened.ledger.rollout.change(Rollout(version=0, stable=release.id), by="test", kind="configure", reason="")
        people(opened, range(10))
        yield opened


def people(workspace: Workspace, numbers: range, release: str = "") -> None:
    name = release or workspace.release().id
    for number in numbers:
        user = f"person-{number}"
        shown = impression(
            number, f"question {number} of the pump", CHUNKS, id=f"imp_{number}", release=name, user=user
        )
        workspace.ledger.impressions.record(shown)
        workspace.ledger.feedback.record(judgement(number, shown, chunk_id=shown.shown[0].chunk_id, id=f"fb_{number}"))


def ranges(record: dict[str, dict[str, list[int]]]) -> tuple[list[int], list[int]]:
    return record["impressions"]["seqs"], record["feedback"]["seqs"]


def test_all_of_it_without_bounds(workspace: Workspace) -> None:
    made, _ = job.curate(workspace)
    assert ranges(made.record) == ([1, 10], [1, 10])


def test_the_newest_and_what_was_said_of_them_the_same_again_later(workspace: Workspace) -> None:
    bounds = {"after": 6, "until": (9, 9)}
    made, _ = job.curate(workspace, **bounds)
    assert ranges(made.record) == ([7, 9], [7, 9])
    people(workspace, range(10, 14))
    assert job.curate(workspace, **bounds)[0] == made


def test_chunks_that_were_cut_otherwise_teach_nothing(workspace: Workspace) -> None:
    stable, releases = workspace.release(), workspace.ledger.releases
    learnt = releases.record({**stable.parts, "embedder": {"fingerprint": "learnt"}}, parent=stable.id)
    other = {**stable.parts, "index": {"chunking": {"max_tokens": 64}}}
    for start, release in enumerate(
        [
            learnt,
            releases.record(other),
            releases.record({**other, "embedder": learnt.parts["embedder"]}, parent=learnt.id),
            releases.record({**stable.parts, "embedder": {"fingerprint": "another model"}}),
        ],
        start=1,
    ):
        people(workspace, range(10 * start, 10 * start + 10), release.id)
    made, content = job.curate(workspace)
    assert len(set(content.examples["query_id"].to_pylist())) == 20, "those of what was learnt, too"
    assert made.record["left_out"]["other_chunking"] == 30
