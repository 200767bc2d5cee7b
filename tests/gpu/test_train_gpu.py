"""Training on a GPU, over NCCL and in bfloat16, gives what it gives in float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen.models.embedder_spec import read_spec
from tests.ray.lessons import tiny_settings, tiny_workspace
from train.connect import connected
from train.embedder import EmbedderTask
from train.loop import train
from train.plan import Plan, Precision


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_bfloat16_on_a_gpu_learns_what_float32_does(tmp_path: Path) -> None:
    settings = tiny_settings(tmp_path)
    workspace, dataset = tiny_workspace(settings)
    task = EmbedderTask(
        settings=workspace.settings,
        dataset=dataset.artifact,
        embedder=read_spec(settings["embedder"]["model"]).record(),
        negatives=1,
        seed=0,
    )
    kinds: tuple[Precision, ...] = ("float32", "bfloat16")
    with connected(workspace.settings, workers=1):
        plain, sixteen = (
            train(
                task,
                Plan(epochs=3, batch=8, learning_rate=1e-3, precision=kind, zero_stage=2),
                tmp_path / kind,
                what=kind,
            )
            for kind in kinds
        )
    workspace.ledger.close()
    assert sixteen.losses == pytest.approx(plain.losses, rel=0.05)
    assert sixteen.losses[-1] < 0.9 * sixteen.losses[0]
    assert sixteen.gpu_s > 0
