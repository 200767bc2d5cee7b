"""The training loop: Ray Train starts the workers and starts them again, DeepSpeed steps them.

A run is a folder. The same call over the same folder goes on where the last one was killed, and a killed worker is
replaced from the newest checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from kaizen.errors import BadModel, Unavailable
from train.checkpoints import read_learnt
from train.failures import EndAtPermanent, told
from train.learner import Task
from train.meters import readings, shown
from train.plan import Plan
from train.run_record import KeepRecord, mend_record, put_aside
from train.trainer import Trainer

_CHANCES = 3  # times that a run goes on after its workers died
_KEPT = 2  # checkpoints: the newest, and the one before it while the newest is written
_METERS = "meters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run gave.

    Attributes:
        weights: what learnt, by its name in the learner's module, float32 on the CPU.
        losses: of each step, over all workers.
        cpu_s, gpu_s: of all workers, those that were killed included.
    """

    weights: dict[str, torch.Tensor]
    losses: tuple[float, ...]
    cpu_s: float
    gpu_s: float


def train(task: Task, plan: Plan, run: Path, *, what: str) -> Trained:
    """Train `task` on the connected Ray cluster and return what it learnt.

    Args:
        run: absolute; where the run keeps its checkpoints, readable and writable for all workers.
        what: name of the run on the progress bar.

    Raises:
        BadModel: the loss is NaN or infinite; the same call begins anew.
        KaizenError: a worker's own, at once where it is permanent.
        Unavailable: the workers died more often than is tolerated, or cannot be started.
    """
    mend_record(run)
    gpu = ray.cluster_resources().get("GPU", 0) >= plan.workers
    trainer = Trainer(
        _work,
        train_loop_config={"task": task, "plan": plan, "meters": run / _METERS, "gpus": int(gpu)},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=plan.workers, use_gpu=gpu),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_path=str(run.parent),
            failure_config=ray.train.FailureConfig(max_failures=_CHANCES),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=_KEPT),
            callbacks=[KeepRecord(run), EndAtPermanent()],
            worker_runtime_env={"env_vars": _environment(plan, gpu)},
        ),
    )
    with shown(run / _METERS, what):
        result = _fit(trainer)
    return _trained(result, run)


def _fit(trainer: Trainer) -> ray.train.Result:
    try:
        return trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise told(error) from error


def _trained(result: ray.train.Result, run: Path) -> Trained:
    if (broken_at := result.return_value) is not None:
        put_aside(run)  # what its checkpoints hold may be why
        raise BadModel(
            f"The loss at step {broken_at} is not finite.", advice="Lower the learning rate; check the data."
        )
    meters = readings(run / _METERS)
    if result.checkpoint is None:
        raise Unavailable("The training ended without a checkpoint.", advice="Run it again.")
    return Trained(
        weights=read_learnt(result.checkpoint),
        losses=tuple((result.metrics or {})["losses"]),
        cpu_s=sum(reading.cpu_s for reading in meters),
        gpu_s=sum(reading.gpu_s for reading in meters),
    )


def _environment(plan: Plan, gpu: bool) -> dict[str, str]:
    """Of a worker. Without GPUs the machine's threads are shared out among the workers."""
    cpus = int(ray.cluster_resources().get("CPU", 1))
    return {
        "OMP_NUM_THREADS": str(max(1, cpus // plan.workers)),
        "DS_ACCELERATOR": "cuda" if gpu else "cpu",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _work(config: dict[str, Any]) -> int | None:
    from train.worker import work  # DeepSpeed writes to stdout when it is imported, and a command's stdout is its own

    return work(**config)
