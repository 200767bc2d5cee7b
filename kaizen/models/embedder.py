"""The embedder as the rest of Kaizen sees it, and the one place that decides which implementation opens it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from kaizen.config import EmbedderSettings
from kaizen.errors import BadModel, ConfigError
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.location import Find, fingerprint_of, locate
from kaizen.models.vectors import Vectors

Role = Literal["bulk", "query"]


class Embedder(Protocol):
    """Turns texts into vectors, those of documents or those of queries: the role it was opened for decides."""

    spec: EmbedderSpec

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised; raise BadModel when any vector is NaN, infinite or zero."""
        ...

    def embed_checked(self, texts: Sequence[str]) -> tuple[Vectors, tuple[int, ...]]:
        """Return (n, dim) float32 and the rows that are NaN, infinite or zero, so that a caller can set them aside."""
        ...


def open_embedder(
    spec: EmbedderSpec,
    settings: EmbedderSettings,
    role: Role,
    *,
    onnx_directory: Path | None = None,
    packed: Callable[[Path], Path | None] | None = None,
    find: Find = locate,
) -> Embedder:
    """Open `spec` the fastest way for `role` on this machine.

    Queries on a CPU go through ONNX Runtime from `onnx_directory` (made by `onnx_cache.ensure_onnx`) and never
    import torch; bulk work and GPUs go through torch.

    Args:
        packed: finds the packing of `onnx_directory`, see `OnnxEmbedder`; asked only where ONNX Runtime is used.
        find: looks up `spec.model`; what learning made is found by `Workspace.model_path` only.

    Raises:
        BadModel: the files are not those that the spec was made from.
        ConfigError: `cuda` is asked for and there is none; or a CPU query embedder without `onnx_directory`.
    """
    if role == "query" and settings.device != "cuda" and settings.placement == "replica":
        from kaizen.models.onnx_embedder import OnnxEmbedder

        if onnx_directory is None:
            raise ConfigError("A query embedder on the CPU needs an ONNX export.", advice="Call ensure_onnx first.")
        found = None if packed is None else packed(onnx_directory)
        return OnnxEmbedder(spec, onnx_directory, threads=settings.query_threads, packed=found)
    from kaizen.models.torch_embedder import TorchEmbedder

    directory = find(spec.model)
    if fingerprint_of(directory) != spec.fingerprint:
        raise BadModel(f"The files of {spec.model!r} are not those of this release.", advice="Restore or rebuild.")
    prompt = spec.query_prompt if role == "query" else spec.document_prompt
    return TorchEmbedder(spec, directory, settings, prompt=prompt)
