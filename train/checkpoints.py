"""Where a run is, kept through Ray Train so that a killed worker costs a few steps.

Inside are DeepSpeed's own files (pickles, read back only by the run that wrote them) and, at the end of the run,
what leaves it: `learnt.safetensors`. Weights that do not learn are not in it: every worker opens them itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.train
import torch
from safetensors.torch import load_file, save_file

LEARNT = "learnt.safetensors"
_TAG = "state"


@dataclass(slots=True)
class Position:
    """Steps that are done, and the loss of each."""

    step: int = 0
    losses: list[float] = field(default_factory=list)


def resume(engine: Any) -> Position:  # noqa: ANN401 (deepspeed's own)
    """Bring `engine` to the newest checkpoint of this run; the beginning when there is none."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Position()
    with checkpoint.as_directory() as directory:
        _, client = engine.load_checkpoint(directory, tag=_TAG, load_module_strict=False)
    return Position(step=client["step"], losses=list(client["losses"]))


def save(engine: Any, position: Position, learnt: dict[str, torch.Tensor] | None) -> None:  # noqa: ANN401
    """Keep `position`; every worker must call it. `learnt`: what leaves the run, when it is at its end."""
    with _scratch() as directory:
        # DeepSpeed makes the folder on the first worker only, and each worker has a folder of its own here.
        (directory / _TAG).mkdir()
        client = {"step": position.step, "losses": position.losses}
        engine.save_checkpoint(str(directory), tag=_TAG, client_state=client, exclude_frozen_parameters=True)
        if learnt is not None and ray.train.get_context().get_world_rank() == 0:
            save_file(learnt, directory / LEARNT)
        ray.train.report(
            {"step": position.step, "losses": position.losses}, checkpoint=ray.train.Checkpoint(str(directory))
        )


def read_learnt(checkpoint: ray.train.Checkpoint) -> dict[str, torch.Tensor]:
    """What the run that ended with `checkpoint` learnt."""
    with checkpoint.as_directory() as directory:
        return load_file(Path(directory) / LEARNT)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kaizen-checkpoint-") as name:
        yield Path(name)
