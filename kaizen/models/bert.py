"""BERT (Devlin et al. 2018) in torch's public operators, read from its files alone.

transformers opens the same files and hundreds more, but to import it takes longer than to import torch and to read the
model together, and 100 MB: too much for a process that one job starts. Names of parts are those in the files.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from kaizen.models.location import read_json

_GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_UNUSED = ("pooler.", "embeddings.position_ids", "cls.")


class Bert(nn.Module):
    """The encoder: `input_ids` and `attention_mask` (rows, length) -> `last_hidden_state` (rows, length, dim)."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        seen = attention_mask[:, None, None, :].bool()
        x = self.embeddings(input_ids)
        for layer in cast(nn.ModuleList, self.encoder.layer):
            x = layer(x, seen)
        return SimpleNamespace(last_hidden_state=x)


class _Embeddings(nn.Module):
    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.word_embeddings = _table(config.vocab_size, config.hidden_size)
        self.position_embeddings = _table(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = _table(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        places = self.position_embeddings.weight[: input_ids.shape[1]]
        summed: torch.Tensor = self.LayerNorm(
            self.word_embeddings(input_ids) + places + self.token_type_embeddings.weight[0]
        )
        return summed


def _table(rows: int, dim: int) -> nn.Embedding:
    """One without first values: to make them up on "meta" torch would import its compiler, a second and 70 MB."""
    return nn.Embedding(rows, dim, _weight=torch.empty(rows, dim))


class _Layer(nn.Module):
    """Attention, then feed-forward, each added and normalised."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        dim, inner = config.hidden_size, config.intermediate_size
        self.attention = nn.Module()
        self.attention.self = nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("query", "key", "value")})
        self.attention.output = _Added(dim, dim, config.layer_norm_eps)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(dim, inner)})
        self.output = _Added(inner, dim, config.layer_norm_eps)
        self._heads = config.num_attention_heads
        self._gelu = _GELUS[config.hidden_act]

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        parts = cast(nn.ModuleDict, self.attention.self)
        query, key, value = (
            parts[name](x).unflatten(2, (self._heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2).flatten(2)
        x = cast(_Added, self.attention.output)(mixed, x)
        inner = functional.gelu(self.intermediate["dense"](x), approximate=self._gelu)
        out: torch.Tensor = self.output(inner, x)
        return out


class _Added(nn.Module):
    def __init__(self, inner: int, dim: int, epsilon: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, dim)
        self.LayerNorm = nn.LayerNorm(dim, epsilon)

    def forward(self, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.LayerNorm(self.dense(x) + before)
        return out


def read_bert(directory: Path) -> Bert | None:
    """Return the encoder in `directory`, float32, for inference; None when it is of another kind, or incomplete."""
    config = SimpleNamespace(**read_json(directory / "config.json"))
    if (
        getattr(config, "model_type", "") != "bert"
        or getattr(config, "position_embedding_type", "absolute") != "absolute"
        or getattr(config, "hidden_act", "") not in _GELUS
        or getattr(config, "is_decoder", False)
    ):
        return None
    try:
        weights = {
            name.removeprefix("bert."): weight.float()
            for name, weight in load_file(directory / "model.safetensors").items()
        }
        with torch.device("meta"):  # no weights are made up that the file replaces
            model = Bert(config)
        model.load_state_dict({n: w for n, w in weights.items() if not n.startswith(_UNUSED)}, assign=True)
    except (AttributeError, OSError, RuntimeError, SafetensorError):  # transformers may know better, or says why not
        return None
    return model.eval()
