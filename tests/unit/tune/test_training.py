"""A sweep of training: its candidate is taught as its trials were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.progress import Progress

from kaizen.errors import Unavailable
from kaizen.learning.query_encoder import QueryEncoderPlan
from kaizen.records import Dataset, Release
from kaizen.storage.local_store import LocalStore
from train.query_encoder import learn
from train.recording import Lesson

INDEX: dict[str, dict[str, Any]] = {
    "index": {"fingerprint": "0" * 12, "shards": 1, "dim": 2, "made_by": "", "chunking": {}},
    "embedder": {"artifact": ""},
}


def test_a_candidate_is_taught_in_one_thread_as_trials_are(tmp_path: Path) -> None:
    release = Release(id="r1-0", number=1, at=0.0, fingerprint="0", parts=INDEX, parent=None)
    documents = SimpleNamespace(mark_of=lambda _seq: None)
    workspace: Any = SimpleNamespace(store=LocalStore(tmp_path), ledger=SimpleNamespace(documents=documents))
    dataset = Dataset(id="d", at=0.0, artifact="", record={})
    torch.set_num_threads(2)
    with pytest.raises(Unavailable):  # nothing is sealed
        learn(
            Lesson(workspace=workspace, parent=release, dataset=dataset, rung=2, turn=""),
            QueryEncoderPlan(),
            Progress(),
        )
    assert torch.get_num_threads() == 1
