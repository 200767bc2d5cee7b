"""BERT's layers on a CPU with oneDNN's fused operators: half again as fast as the same model under autocast.

What is gained: weights are reordered for the matrix units once instead of at every call; GELU happens inside the
matrix product; query, key and value are one product; nothing is converted between float32 and bfloat16 on the way.
The operators are those that torch's own compiler emits. They are no public interface, so whoever uses this compares
it with the plain model first (see `TorchEmbedder`). Figures are in docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch.nn import functional

_LAYOUTS = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
_GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_PLANNED_TOKENS = 4096  # the batch that weights are laid out for; any other works too


class _Linear:
    """x (rows, n) -> (rows, m), with GELU after it if `gelu` names one."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype, gelu: str = "") -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), _PLANNED_TOKENS)
        self._bias = bias.to(dtype)
        self._after = ("gelu", gelu) if gelu else ("none", "")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        name, algorithm = self._after
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, name, [], algorithm)
        return out


class _Norm:
    def __init__(self, norm: torch.nn.LayerNorm, dtype: torch.dtype) -> None:
        self._weight, self._bias, self._epsilon = norm.weight.to(dtype), norm.bias.to(dtype), norm.eps

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], self._weight, self._bias, self._epsilon)


class _Layer:
    """One transformer layer, after Devlin et al. 2018: attention, then feed-forward, each added and normalised."""

    def __init__(self, layer: Any, heads: int, gelu: str, dtype: torch.dtype) -> None:  # noqa: ANN401 (transformers' own)
        self._heads = heads
        attention, output = layer.attention.self, layer.attention.output
        parts = (attention.query, attention.key, attention.value)
        self._qkv = _Linear(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]), dtype)
        self._mix = _Linear(output.dense.weight, output.dense.bias, dtype)
        self._norm = _Norm(output.LayerNorm, dtype)
        self._up = _Linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias, dtype, gelu)
        self._down = _Linear(layer.output.dense.weight, layer.output.dense.bias, dtype)
        self._last_norm = _Norm(layer.output.LayerNorm, dtype)

    def __call__(self, x: torch.Tensor, rows: int, mask: torch.Tensor | None) -> torch.Tensor:
        # x: (rows * length, dim); mask: (rows, 1, 1, length), 0 or -inf
        query, key, value = (
            self._qkv(x).view(rows, -1, 3, self._heads, x.shape[1] // self._heads).permute(2, 0, 3, 1, 4)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self._norm(self._mix(seen.transpose(1, 2).reshape(x.shape)) + x)
        return self._last_norm(self._down(self._up(x)) + x)


class FusedBert:
    """ids and mask (rows, length) int64 -> token vectors (rows, length, dim) of `dtype`."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:  # noqa: ANN401
        gelu = _GELUS[model.config.hidden_act]
        heads = model.config.num_attention_heads
        self._dtype = dtype
        self._embeddings = cast(Callable[..., torch.Tensor], model.embeddings)
        self._layers = [_Layer(layer, heads, gelu, dtype) for layer in model.encoder.layer]

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, length = ids.shape
        x = self._embeddings(input_ids=ids).to(self._dtype).view(rows * length, -1)
        hidden = None
        if not bool(mask.all()):
            hidden = torch.zeros((rows, 1, 1, length), dtype=self._dtype)
            hidden.masked_fill_(mask[:, None, None, :] == 0, float("-inf"))
        for layer in self._layers:
            x = layer(x, rows, hidden)
        return x.view(rows, length, -1)


def can_fuse(model: Any) -> bool:  # noqa: ANN401
    """Return whether `model` (of transformers) has the layout that `FusedBert` knows and torch has the operators."""
    config = model.config
    return (
        config.model_type in _LAYOUTS
        and config.hidden_act in _GELUS
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and torch._C._has_mkldnn
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )
