"""One worker, from start or checkpoint to end. Every worker goes through the same calls in the same order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed

from train.checkpoints import Position, resume, save
from train.deepspeed_engine import learnt_weights, start_engine
from train.learner import Task, Tensors
from train.meters import Meter
from train.plan import Plan


def work(task: Task, plan: Plan, meters: Path, gpus: int) -> int | None:
    """Learn; return the step whose loss is not finite, if one is. Runs inside Ray Train, once in every worker.

    Ray Train's result has the metrics of the newest checkpoint only, so that step is not reported.

    Args:
        meters: where to tell how far it is.
        gpus: that this worker holds.
    """
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(plan.seed)
    learner = task.open()
    steps = plan.steps(learner.examples)
    share = plan.global_batch(learner.examples) // workers
    engine = start_engine(learner.module, plan, share=share, steps=steps)
    meter = Meter(meters, gpus=gpus)
    position = resume(engine)
    while position.step < steps:
        rows = plan.rows(position.step, learner.examples)[rank::workers]
        loss = _step(engine, learner.batch(rows, position.step))
        if not math.isfinite(loss):  # the same number in every worker, so all leave together
            return position.step
        position.losses.append(loss)
        position.step += 1
        meter.write(position.step, steps, loss)
        _keep(engine, position, plan, steps)
    return None


def _step(engine: Any, batch: Tensors) -> float:  # noqa: ANN401 (deepspeed's own)
    """Learn from a batch and return its loss over all workers."""
    loss = engine({name: tensor.to(engine.device) for name, tensor in batch.items()})
    engine.backward(loss)
    engine.step()
    mean = loss.detach().float().clone()
    torch.distributed.all_reduce(mean)
    return float(mean) / torch.distributed.get_world_size()


def _keep(engine: Any, position: Position, plan: Plan, steps: int) -> None:  # noqa: ANN401
    at_end = position.step == steps
    if at_end or position.step % plan.checkpoint_steps == 0:
        save(engine, position, learnt_weights(engine.module) if at_end else None)
