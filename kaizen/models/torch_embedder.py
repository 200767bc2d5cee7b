"""Bulk embedding with torch, on CPUs and GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from kaizen.config import EmbedderSettings
from kaizen.errors import ConfigError
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.tokens import EmbedderTokenizer
from kaizen.models.vectors import Vectors, bad_rows, refuse_bad

_ROUND = 8  # lengths are rounded up to this, so that kernels and buffers are reused


class TorchEmbedder:
    """A transformers encoder, run over batches of like length.

    Sets torch's thread count for the process: bulk embedding is meant to have a process of its own.

    Args:
        directory: where the files of `spec` are, already checked.
        prompt: put before every text.
    """

    def __init__(self, spec: EmbedderSpec, directory: Path, settings: EmbedderSettings, *, prompt: str = "") -> None:
        self.spec = spec
        self._prompt = prompt
        self._batch_tokens = settings.batch_tokens
        self._device = _device(settings)
        if self._device.type == "cpu":
            torch.set_num_threads(settings.bulk_threads or len(os.sched_getaffinity(0)))
        self._dtype = _dtype(self._device)
        self._tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
        model = AutoModel.from_pretrained(
            str(directory), use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32
        )
        self._model = model.eval().to(self._device)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised; raise BadModel when any vector is NaN, infinite or zero."""
        return refuse_bad(*self.embed_checked(texts))

    def embed_checked(self, texts: Sequence[str]) -> tuple[Vectors, tuple[int, ...]]:
        """Return (n, dim) float32 and the rows that are NaN, infinite or zero."""
        tokens = self._tokenizer.encode([self._prompt + text for text in texts])
        vectors = np.empty((len(texts), self.spec.dim), dtype=np.float32)
        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, self._dtype != torch.float32):
            for rows, length in batches([len(t) for t in tokens], self._batch_tokens):
                vectors[rows] = self._forward([tokens[r] for r in rows], length)
        return vectors, bad_rows(vectors)

    def _forward(self, batch: list[list[int]], length: int) -> Vectors:
        ids = torch.zeros((len(batch), length), dtype=torch.long)
        mask = torch.zeros((len(batch), length), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # (b, length, dim)
        if self.spec.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            weights = mask.unsqueeze(-1).float()
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        result: Vectors = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return result


def batches(lengths: Sequence[int], budget: int) -> Iterator[tuple[list[int], int]]:
    """Yield (rows, padded length), longest first, each at most `budget` tokens with padding (or one text)."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        length = -(-lengths[order[start]] // _ROUND) * _ROUND
        stop = start + max(1, budget // length)
        yield order[start:stop], length
        start = stop


def _device(settings: EmbedderSettings) -> torch.device:
    present = torch.cuda.is_available()
    if settings.device == "cuda" and not present:
        raise ConfigError("embedder.device is cuda and torch sees no GPU.", advice="Set it to auto or cpu.")
    return torch.device("cuda" if present and settings.device != "cpu" else "cpu")


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
