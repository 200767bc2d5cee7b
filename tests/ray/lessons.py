"""What the tests of training learn from: a workspace with a tiny release and a data set, and a toy for the loop."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kaizen.config import Settings
from kaizen.errors import InvalidInput
from kaizen.learning.dataset import DatasetContent, table, write_dataset
from kaizen.records import Dataset
from kaizen.workspace import Workspace, open_workspace
from tests.product import eventually
from tests.unit.models.tiny_llama import write_tiny_llama
from tests.unit.models.tiny_model import write_tiny_model
from train.learner import Tensors
from train.plan import Plan

PARTS = ("pump", "valve", "motor", "belt", "gear", "wheel")
TOY_PLAN = Plan(epochs=6, batch=16, learning_rate=1e-2, precision="float32", checkpoint_steps=4)


def tiny_settings(directory: Path) -> dict[str, Any]:
    """A configuration whose models are tiny, written to `directory`."""
    return {
        "workspace": {"directory": str(directory / "workspace")},
        "embedder": {"model": str(write_tiny_model(directory / "embedder"))},
        "generator": {
            "kind": "transformers",
            "model": str(write_tiny_llama(directory / "generator")),
            "max_tokens": 16,
        },
        "chunking": {"max_tokens": 32, "overlap_tokens": 0},
        "cluster": {"cpus": 2},
    }


def tiny_workspace(settings: dict[str, Any]) -> tuple[Workspace, Dataset]:
    """The workspace, and a data set in it: which part goes with which other one, and letters to answer with."""
    workspace = open_workspace(Settings.model_validate(settings))
    content = DatasetContent(
        examples=table("examples", [row for i in range(24) for row in _examples(i)]),
        demonstrations=table("demonstrations", [_demonstration(i) for i in range(8)]),
        feedback_ids=table("feedback_ids", []),
        record={},
    )
    dataset = Dataset(id=content.id, at=0.0, artifact=write_dataset(workspace.store, content), record={})
    workspace.ledger.datasets.record(dataset)
    return workspace, dataset


def _examples(number: int) -> list[dict[str, Any]]:
    asked, wanted, other = (PARTS[(number + shift) % len(PARTS)] for shift in (0, 1, 2 + number % 3))
    query = {"query_id": f"q{number:02d}", "query": f"the {asked} " * (1 + number % 3), "tenant": "default",
             "groups": [], "split": "train", "shown": 1, "clicks": 0.0, "position": 1.0, "features": [],
             "judged": True, "weight": 1.0, "title": ""}  # fmt: skip
    chunks = ((f"{wanted}{number}", f"a {wanted} is the {wanted}", 0.9), (f"{other}{number}", f"of {other}", 0.1))
    return [
        query | {"chunk_id": name, "document_id": name, "text": text, "label": label} for name, text, label in chunks
    ]


def _demonstration(number: int) -> dict[str, Any]:
    prefers = number % 2 == 0
    return {
        "query_id": f"q{number}", "query": "how", "tenant": "default", "split": "train",
        "sources": [{"title": "", "text": "abc"}], "chosen": "abcabc", "rejected": "zzz" if prefers else "",
        "kind": "preference" if prefers else "correction", "weight": 1.0,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Toy:
    """A regression that needs no text; `pause_seconds` of each batch gives time to kill it.

    broken_at: step from which its points are no numbers.
    """

    pause_seconds: float = 0.0
    broken_at: int = 10**9

    def open(self) -> ToyLearner:
        return ToyLearner(self.pause_seconds, self.broken_at)


@dataclass(frozen=True, slots=True)
class Unlearnable:
    """What can never be opened; `opened` gets a line each time."""

    opened: Path

    def open(self) -> ToyLearner:
        with self.opened.open("a") as lines:
            lines.write("once\n")
        raise InvalidInput("No demonstration fits.", advice="Raise generator.context_tokens.")


class ToyLearner:
    """64 points, and a small net that is to map one half of their numbers to the other."""

    def __init__(self, pause_seconds: float, broken_at: int = 10**9) -> None:
        torch.manual_seed(1)
        self.points = torch.randn(64, 2, 8)
        self.module: torch.nn.Module = Regression()
        self.examples = len(self.points)
        self._pause_seconds = pause_seconds
        self._broken_at = broken_at

    def batch(self, rows: Sequence[int], step: int) -> Tensors:
        threading.Event().wait(self._pause_seconds)
        return {"points": self.points[list(rows)] * (torch.nan if step >= self._broken_at else 1)}


class Regression(torch.nn.Module):
    """The mean squared error of the points of a batch. A MiB of frozen weights has two names, as a tied layer has."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.Linear(512, 512).requires_grad_(False)
        self.tied = self.frozen
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 8))

    def forward(self, batch: Tensors) -> torch.Tensor:
        loss: torch.Tensor = (self.layers(batch["points"][:, 0]) - batch["points"][:, 1]).pow(2).mean()
        return loss


def by_hand(plan: Plan) -> list[float]:
    """The losses of the toy's training with nothing but torch."""
    learner = ToyLearner(0)
    optimizer = torch.optim.AdamW(learner.module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    steps = plan.steps(learner.examples)
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = plan.learning_rate * plan.rate(step, steps)
        loss = learner.module(learner.batch(plan.rows(step, learner.examples), step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.module.parameters(), plan.clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def unfinished_checkpoints() -> set[Path]:
    """Folders in which workers put checkpoints together. They go with the last step of it; not with a killed worker."""
    return set(Path(tempfile.gettempdir()).glob("kaizen-checkpoint-*"))


def kill_in_checkpoint(meters: Path, step: int, torn: list[Path]) -> None:
    """Kill -9 the worker while it writes its first checkpoint after `step`."""

    def has_come() -> int | None:
        files = [file for file in meters.glob("*.json") if json.loads(file.read_text())["step"] > step]
        return next((int(file.stem.rpartition("-")[2]) for file in files), None)

    worker = eventually(has_come, 120, f"step {step + 1}")
    before = unfinished_checkpoints()
    while not torn:  # as fast as it goes: it takes milliseconds
        torn.extend(unfinished_checkpoints() - before)
    os.kill(worker, signal.SIGKILL)
