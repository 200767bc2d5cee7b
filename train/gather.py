"""Rows of all workers together, such that each worker's rows learn from every worker's loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as distributed


def gather(rows: torch.Tensor) -> torch.Tensor:
    """(n, ...) of each of w workers -> (w * n, ...), the first worker's first. Gradients flow back to their owners.

    The gradient of a row is the sum over the workers' losses; DeepSpeed then takes the mean over the workers.
    """
    if distributed.get_world_size() == 1:
        return rows
    gathered: torch.Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 (torch's own)
        ctx.rows = rows.shape[0]
        rows = rows.contiguous()
        found = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(found, rows)
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        first = distributed.get_rank() * ctx.rows
        return total[first : first + ctx.rows]
