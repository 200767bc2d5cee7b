"""Embedding with ONNX Runtime: no torch, no transformers, so that a gateway replica stays light.

For queries, and for documents as they are written one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from kaizen.errors import BadModel
from kaizen.models.batches import batches, padded
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.location import fingerprint_of, read_json
from kaizen.models.tokens import EmbedderTokenizer
from kaizen.models.vectors import Vectors, bad_rows, refuse_bad

log = logging.getLogger("kaizen.onnx_embedder")

# For each thread, with padding. A core gains nothing from more, and texts of unlike length would be padded to their
# longest: with 512, sixteen queries cost a third more; figures are in docs/decisions.md.
_CALL_TOKENS = 96
# In a model's metadata: its vectors must not depend on what is computed together, see `eight_bits`.
ONE_BY_ONE = "one_by_one"


class OnnxEmbedder:
    """An exported encoder, pooling and normalisation included. Safe to call from many threads.

    Args:
        directory: what `onnx_export.export_onnx` wrote for `spec`.
        threads: threads of one call.
        packed: the same model as `packed_weights.pack` wrote it; None: the weights are packed for this process.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        directory: Path,
        *,
        threads: int = 1,
        prompt: str | None = None,
        packed: Path | None = None,
    ) -> None:
        record = read_json(directory / "record.json")
        if record.get("source") != spec.fingerprint:
            raise BadModel(f"The ONNX export in {directory} is of another embedder.", advice="Export it again.")
        if record.get("onnx") != fingerprint_of(directory / "model.onnx"):
            raise BadModel(f"The ONNX file in {directory} is not the one that was exported.", advice="Export it again.")
        self.spec = spec
        self._prompt = spec.query_prompt if prompt is None else prompt
        self._tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
        self._session = _session(directory / "model.onnx", packed, threads)
        one_by_one = ONE_BY_ONE in self._session.get_modelmeta().custom_metadata_map
        self._call_tokens = 1 if one_by_one else _CALL_TOKENS * threads
        self._dim = int(self._session.get_outputs()[0].shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised; raise BadModel when any vector is NaN, infinite or zero."""
        return refuse_bad(*self.embed_checked(texts))

    def embed_checked(self, texts: Sequence[str]) -> tuple[Vectors, tuple[int, ...]]:
        """Return (n, dim) float32 and the rows that are NaN, infinite or zero."""
        tokens = self._tokenizer.encode([self._prompt + text for text in texts])
        # The session tells how long a vector is: a record may be wrong, and who judges it must get to see both.
        vectors = np.empty((len(tokens), self._dim), dtype=np.float32)
        lengths = [len(t) for t in tokens]
        # Not rounded: a question is computed alone, and each token of padding is time that somebody waits for.
        for rows, length in batches(lengths, budget=self._call_tokens, longest=self.spec.max_tokens, multiple=1):
            ids, mask = padded([tokens[row] for row in rows], length)
            vectors[rows] = self._session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})[0]
        return vectors, bad_rows(vectors)


def open_session(model: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A model on the CPU; `threads`: of one call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _session(model: Path, packed: Path | None, threads: int) -> onnxruntime.InferenceSession:
    """The packed model, or the one that it was made of: a packing may be taken away at any moment."""
    if packed is not None:
        try:
            return open_session(packed, threads=threads)
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's errors have no class in common)
            log.warning("the packed model cannot be opened: %s", error)
    return open_session(model, threads=threads)
