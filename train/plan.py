"""How a run of training goes: its settings, and which examples each step sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kaizen.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings of a run; equal plans over equal data give equal losses, whatever the number of workers.

    Attributes:
        epochs: times that every example is seen.
        max_steps: stop after so many steps; 0: no limit.
        batch: examples of one step, over all workers.
        learning_rate: its peak; it rises over the first `warmup` share of the steps and falls to 0 in a line.
        workers: processes, one GPU each where the cluster has them.
        zero_stage: what DeepSpeed splits among the workers: 0 nothing, 1 optimizer, 2 and gradients, 3 and weights.
        precision: of matrix products; weights stay float32. auto: bfloat16 where the hardware has it.
        checkpoint_steps: steps that a killed worker can cost.
    """

    epochs: int
    max_steps: int = 0
    batch: int
    learning_rate: float
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    workers: int = 1
    zero_stage: Literal[0, 1, 2, 3] = 1
    precision: Precision = "auto"
    seed: int = 0
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        counts = (self.epochs, self.batch, self.workers, self.checkpoint_steps, self.max_steps + 1)
        if min(counts) < 1 or self.learning_rate <= 0 or self.zero_stage not in (0, 1, 2, 3):
            raise ConfigError("A setting of the training is out of its range.", advice="See --help for the ranges.")

    def global_batch(self, examples: int) -> int:
        """Examples of a step: as many as asked and there are, the same number for each worker."""
        whole = min(self.batch, examples) // self.workers * self.workers
        if not whole:
            raise ConfigError(
                f"{self.workers} workers cannot share {examples} examples in batches of {self.batch}.",
                advice="Use fewer workers, or a larger batch.",
            )
        return whole

    def steps(self, examples: int) -> int:
        """Steps of the whole run over so many examples."""
        whole = examples // self.global_batch(examples) * self.epochs
        return min(whole, self.max_steps) if self.max_steps else whole

    def rows(self, step: int, examples: int) -> Sequence[int]:
        """The examples of step `step` (from 0), over all workers. Each epoch has an order of its own; a rest is left.

        Worker r of n takes every n-th from the r-th on.
        """
        batch = self.global_batch(examples)
        epoch, place = divmod(step, examples // batch)
        order = np.random.default_rng((self.seed, epoch)).permutation(examples)
        return [int(row) for row in order[place * batch : (place + 1) * batch]]

    def rate(self, step: int, steps: int) -> float:
        """Share of the peak learning rate at step `step` (from 0) of `steps`."""
        rising = max(1, round(self.warmup * steps))
        return min((step + 1) / rising, (steps - step) / max(1, steps - rising + 1))
