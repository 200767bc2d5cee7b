"""A transformers encoder from a checked directory, and how its token vectors become one vector a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from kaizen.errors import BadModel
from kaizen.models.embedder_spec import Pooling


def load_encoder(directory: Path, attention: Literal["sdpa", "eager"] = "sdpa") -> Any:  # noqa: ANN401 (transformers')
    """Return the encoder in `directory`, float32, for inference; raise BadModel when it cannot be read."""
    from transformers import AutoModel  # seconds, which `pool` need not cost
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return AutoModel.from_pretrained(
            str(directory), use_safetensors=True, trust_remote_code=False, local_files_only=True,
            dtype=torch.float32, attn_implementation=attention,
        ).eval()  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        advice = "Use a sentence-transformers directory with safetensors whose architecture transformers knows."
        raise BadModel(f"transformers cannot open the encoder in {directory}.", advice=advice) from error


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Token vectors (n, length, dim) and mask (n, length) -> (n, dim) float32, L2-normalised."""
    hidden = hidden.float()
    if pooling == "cls":
        pooled = hidden[:, 0]
    else:
        weights = mask.unsqueeze(-1).float()
        pooled = (hidden * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(pooled, dim=1)
