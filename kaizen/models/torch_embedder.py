"""Bulk embedding with torch, on CPUs and GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kaizen.config import EmbedderSettings
from kaizen.errors import ConfigError
from kaizen.heap import keep_freed_memory
from kaizen.models.batches import batches, padded
from kaizen.models.bert import read_bert
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.encoder import load_encoder, pool
from kaizen.models.fused_bert import FusedBert, can_fuse
from kaizen.models.tokens import EmbedderTokenizer
from kaizen.models.vectors import Vectors, bad_rows, refuse_bad

_MIN_COSINE = 0.999  # of the fused path to the plain one; bfloat16 alone costs about 0.0001
# A core gains nothing from more, while fewer mean less padding and less memory. Figures are in docs/decisions.md.
_CORE_TOKENS = 8192
_PROBES = ("The quick brown fox jumps over the lazy dog.", "pressure", "How do I read a file, line by line? " * 20)
Encode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class TorchEmbedder:
    """A transformer's encoder, run over batches of like length. Safe to call from many threads.

    On a CPU each core computes batches of its own: cores that share each operation wait for each other at each. With
    bfloat16 units, and on a GPU, it computes in 16 bits. Sets torch's thread count and the way of malloc for the
    process: bulk embedding is meant to have a process of its own.

    Args:
        directory: where the files of `spec` are, already checked.
        prompt: put before every text.
    """

    def __init__(self, spec: EmbedderSpec, directory: Path, settings: EmbedderSettings, *, prompt: str = "") -> None:
        self.spec = spec
        self._prompt = prompt
        self._batch_tokens = settings.batch_tokens
        self._device = _device(settings)
        self._streams = 1
        if self._device.type == "cpu":
            self._streams = settings.bulk_threads or len(os.sched_getaffinity(0))
            self._batch_tokens = min(settings.batch_tokens, _CORE_TOKENS)
            torch.set_num_threads(1)
            keep_freed_memory()
        self._pool = ThreadPoolExecutor(self._streams, thread_name_prefix="embed")
        self._tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
        encoder = read_bert(directory) or load_encoder(directory)
        self._encode = self._fastest(encoder.to(self._device), _dtype(self._device))

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised; raise BadModel when any vector is NaN, infinite or zero."""
        return refuse_bad(*self.embed_checked(texts))

    def embed_checked(self, texts: Sequence[str]) -> tuple[Vectors, tuple[int, ...]]:
        """Return (n, dim) float32 and the rows that are NaN, infinite or zero."""
        tokens = self._tokenizer.encode([self._prompt + text for text in texts])
        vectors = np.empty((len(texts), self.spec.dim), dtype=np.float32)

        def compute(batch: tuple[list[int], int]) -> None:
            rows, length = batch
            vectors[rows] = self._forward([tokens[row] for row in rows], length)

        lengths = [len(t) for t in tokens]
        budget = min(self._batch_tokens, -(-sum(lengths) // self._streams))  # few texts are work for all cores too
        for _ in self._pool.map(compute, batches(lengths, budget=budget, longest=self.spec.max_tokens)):
            pass
        return vectors, bad_rows(vectors)

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Sequence[int]], length: int) -> Vectors:
        ids, mask = (torch.from_numpy(array).to(self._device) for array in padded(batch, length))
        vectors: Vectors = pool(self._encode(ids, mask), mask, self.spec.pooling).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def _fastest(self, encoder: Any, dtype: torch.dtype) -> Encode:  # noqa: ANN401 (transformers' own)
        """The fused path where there is one and it agrees with the plain one on a few texts."""
        plain = _plain(encoder, self._device, dtype)
        if self._device.type != "cpu" or not can_fuse(encoder):
            return plain
        fused = FusedBert(encoder, dtype)
        tokens = self._tokenizer.encode(_PROBES)
        ids, mask = (torch.from_numpy(a) for a in padded(tokens, max(map(len, tokens))))
        wanted, got = (pool(encode(ids, mask), mask, self.spec.pooling) for encode in (plain, fused))
        return fused if float((wanted * got).sum(1).min()) >= _MIN_COSINE else plain


def _plain(encoder: Any, device: torch.device, dtype: torch.dtype) -> Encode:  # noqa: ANN401 (transformers' own)
    def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            hidden: torch.Tensor = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            return hidden

    return encode


def _device(settings: EmbedderSettings) -> torch.device:
    present = torch.cuda.is_available()
    if settings.device == "cuda" and not present:
        raise ConfigError("embedder.device is cuda and torch sees no GPU.", advice="Set it to auto or cpu.")
    return torch.device("cuda" if present and settings.device != "cpu" else "cpu")


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
