"""`python -m jobs.build_index`, a shard of it in this process: killed, it goes on from what it had sealed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from rich.progress import Progress

from jobs import build_index
from kaizen.config import Settings
from kaizen.indexing.generation import GenerationStore
from kaizen.records import Document, Release
from kaizen.release import index_of
from kaizen.retrieval.chunk_table import with_vectors
from kaizen.workspace import Workspace, open_workspace
from tests.unit.retrieval.rows import DIM, document, rows

DOCUMENTS = 200  # four runs of changes
RELEASE = Release(
    id="r1-0", number=1, at=0.0, fingerprint="0", parent=None,
    parts={
        "index": {"fingerprint": "i", "shards": 1, "dim": DIM, "made_by": "hash", "chunking": {}},
        "embedder": {"artifact": "e", "fingerprint": "e"},
    },
)  # fmt: skip


class Killed(BaseException):
    """What kill -9 does to everything that is in memory."""


class Embedding:
    """The embedder of a task; killed at its `last` document. Counts what it embeds."""

    embedded = 0
    last = DOCUMENTS

    def __init__(self, *_: object) -> None:
        Embedding.embedded = 0

    def __call__(self, documents: Sequence[Document]) -> pa.Table:
        Embedding.embedded += len(documents)
        if Embedding.embedded > Embedding.last:
            raise Killed
        return with_vectors(*rows(*documents))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(build_index, "_Preparer", Embedding)
    monkeypatch.setattr(Embedding, "last", DOCUMENTS)
    monkeypatch.setattr(build_index, "SEAL_SECONDS", 0.0)
    settings = Settings.model_validate({"workspace": {"directory": tmp_path}})
    made = open_workspace(settings)
    with made.ledger:
        for number in range(DOCUMENTS):
            made.ledger.documents.upsert(document(f"d{number}", f"pump {number}"))
        yield made


def generations(workspace: Workspace) -> GenerationStore:
    prefix = index_of(RELEASE).shard_prefix(0)
    return GenerationStore(workspace.store, prefix, workspace.ledger.documents)


def test_a_kill_loses_only_what_was_not_sealed_yet(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Embedding, "last", 150)
    with pytest.raises(Killed):
        build_index.build_shard(workspace.settings, RELEASE, 0)
    assert generations(workspace).newest_seq() == generations(workspace).load().view.seq == 128
    monkeypatch.setattr(Embedding, "last", DOCUMENTS)
    built = build_index.build_shard(workspace.settings, RELEASE, 0)
    assert (built.seq, built.chunks, Embedding.embedded) == (DOCUMENTS, DOCUMENTS, DOCUMENTS - 128)
    view = generations(workspace).load().view
    assert (view.seq, view.rows, len(view.segments)) == (DOCUMENTS, DOCUMENTS, 1)
    again = build_index.build_shard(workspace.settings, RELEASE, 0)
    assert (again.seq, again.chunks, Embedding.embedded) == (DOCUMENTS, DOCUMENTS, 0)


def test_how_far_it_is_is_told_while_it_works(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[float, float | None]] = []

    def wait(left: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        """At the first look it has come to the second generation."""
        if len(looks) == 0:
            monkeypatch.setattr(Embedding, "last", 150)
            with pytest.raises(Killed):
                build_index.build_shard(workspace.settings, RELEASE, 0)
            monkeypatch.setattr(Embedding, "last", DOCUMENTS)
            return [], left
        return left, []

    class Bars(Progress):
        def update(self, task_id: Any, **fields: Any) -> None:  # noqa: ANN401 (as rich has it)
            super().update(task_id, **fields)
            looks.append((self.tasks[task_id].completed, self.tasks[task_id].total))

    def call(*arguments: Any) -> Any:  # noqa: ANN401 (of a stand-in)
        return lambda: build_index.build_shard(*arguments)

    ray = SimpleNamespace(
        remote=lambda _: SimpleNamespace(remote=call), wait=wait, get=lambda done: [f() for f in done]
    )
    monkeypatch.setattr(build_index, "ray", ray)
    (built,) = build_index.build_index(workspace, RELEASE, Bars(disable=True))
    assert built.seq == DOCUMENTS
    assert looks == [(128, DOCUMENTS), (DOCUMENTS, DOCUMENTS), (DOCUMENTS, DOCUMENTS)]
