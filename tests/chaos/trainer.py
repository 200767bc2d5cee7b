"""A trainer that can be struck: the product's own worker and Ray Train's own keeping of checkpoints, in one process.

What Ray Train keeps in its controller, which is another process, is kept by the test. Only what carries messages
between the two is left out, so that a life takes seconds and strace can count the calls of the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray.train
import torch.distributed
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.context import (
    DistributedContext,
    ExecutionContext,
    TrainContext,
    set_train_context,
)
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.train_fn_utils import DistributedTrainFnUtils, set_train_fn_utils
from ray.train.v2._internal.execution.training_report import _TrainingReport

from tests.ray.lessons import TOY_PLAN, ToyLearner
from train.checkpoints import Position
from train.learner import Tensors
from train.loop import _KEPT

Tell = Callable[[object], None]
# What Ray Train and `train.loop` give a worker's environment.
_ENVIRONMENT = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"}


@dataclass(frozen=True, slots=True)
class Step:
    """The trainer begins this step."""

    number: int


@dataclass(frozen=True, slots=True)
class Report:
    """The trainer reported. `checkpoint`: the name of its folder in the run; empty when it brought none."""

    checkpoint: str
    metrics: dict[str, Any]


class Run:
    """A run's folder with what Ray Train's controller knows of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._storage = _storage(directory)
        self._checkpoints = CheckpointManager(ray.train.CheckpointConfig(num_to_keep=_KEPT), self._storage)

    @property
    def newest(self) -> str:
        """Name of the newest checkpoint that the controller was told of; empty at the beginning."""
        newest = self._checkpoints.latest_checkpoint_result
        return Path(newest.checkpoint.path).name if newest else ""

    def hear(self, report: Report) -> None:
        """What the controller does with a report."""
        if report.checkpoint:
            path = self._storage.build_checkpoint_path_from_name(report.checkpoint)
            asyncio.run(self._register(_TrainingReport(ray.train.Checkpoint(path), report.metrics, validation=False)))

    async def _register(self, report: _TrainingReport) -> None:
        self._checkpoints.register_checkpoint(report)  # it makes a task of the running loop


def learn(tell: Tell, directory: Path, newest: str) -> None:
    """What is struck: one life of the trainer, from the checkpoint `newest` of the run to its end."""
    from train.worker import work  # DeepSpeed, which only the process that is struck has

    os.environ.update(_ENVIRONMENT)
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # else a line for every checkpoint
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    set_train_context(_context(tell, directory, newest))
    tempfile.tempdir = str(directory)  # what a kill leaves of a checkpoint goes with the run
    set_train_fn_utils(DistributedTrainFnUtils())
    work(_Toy(tell), TOY_PLAN, directory / "meters", 0)
    torch.distributed.destroy_process_group()


def learn_in_place(tell: Tell, directory: Path, newest: str) -> None:
    """The same where a checkpoint is written over the one before it, as one would who had not thought of a kill."""
    state = directory / "in-place"

    def save(engine: Any, position: Position, _learnt: object) -> None:  # noqa: ANN401 (deepspeed's own)
        client = {"step": position.step, "losses": position.losses}
        engine.save_checkpoint(str(state), tag="state", client_state=client, exclude_frozen_parameters=True)
        ray.train.report(client)

    def resume(engine: Any) -> Position:  # noqa: ANN401
        if not state.exists():
            return Position()
        _, client = engine.load_checkpoint(str(state), tag="state", load_module_strict=False)
        return Position(step=client["step"], losses=list(client["losses"]))

    with patch("train.worker.save", save), patch("train.worker.resume", resume):
        learn(tell, directory, newest)


@dataclass(frozen=True, slots=True)
class _Toy:
    """The toy of the tests of training, which tells each step that it is asked for."""

    tell: Tell

    def open(self) -> _ToyLearner:
        return _ToyLearner(self.tell)


class _ToyLearner(ToyLearner):
    def __init__(self, tell: Tell) -> None:
        super().__init__(pause_seconds=0.0)
        self._tell = tell

    def batch(self, rows: Any, step: int) -> Tensors:  # noqa: ANN401
        self._tell(Step(step))
        return super().batch(rows, step)


class _Context(TrainContext):
    """Of a worker that is alone: there is no other whose name for a checkpoint could differ."""

    def _sync_checkpoint_dir_name_across_ranks(self, checkpoint_dir_name: str | None = None) -> str:
        return checkpoint_dir_name or self.storage_context.make_default_checkpoint_dir_name()


class _Controller:
    """The queue to the controller."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def put(self, report: _TrainingReport) -> None:
        checkpoint = Path(report.checkpoint.path).name if report.checkpoint else ""
        self._tell(Report(checkpoint, report.metrics))


def _context(tell: Tell, directory: Path, newest: str) -> _Context:
    storage = _storage(directory)
    return _Context(
        train_run_context=None,  # type: ignore[arg-type]
        distributed_context=DistributedContext(0, 1, 0, 1, 0),
        execution_context=ExecutionContext(None, _Controller(tell), None, []),  # type: ignore[arg-type]
        storage_context=storage,
        preemption_context=None,  # type: ignore[arg-type]
        controller_actor=None,
        dataset_shard_provider=None,  # type: ignore[arg-type]
        checkpoint=ray.train.Checkpoint(storage.build_checkpoint_path_from_name(newest)) if newest else None,
    )


def _storage(directory: Path) -> StorageContext:
    return StorageContext(str(directory.parent), directory.name)
