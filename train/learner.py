"""What the loop trains: a task that can travel to a worker, and the learner that it becomes there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

Tensors = Mapping[str, torch.Tensor]


class Learner(Protocol):
    """A model with its examples, in one worker."""

    @property
    def module(self) -> torch.nn.Module:
        """What learns: whatever of it has `requires_grad`.

        Its `forward(batch)` gives the loss of this worker's share of a batch: a scalar, scaled such that the mean over
        all workers is the loss of the whole batch.
        """
        ...

    @property
    def examples(self) -> int:
        """How many there are; in every worker the same ones."""
        ...

    def batch(self, rows: Sequence[int], step: int) -> Tensors:
        """The tensors of these examples at this step, on the CPU."""
        ...


class Task(Protocol):
    """The description of a learner; pickles, and opens the same learner in every process."""

    def open(self) -> Learner:
        """Read data and model."""
        ...
