"""An ONNX model with its weights in the order in which this machine's processor reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from kaizen.errors import BadModel
from kaizen.ids import fingerprint
from kaizen.models.processor import processor

MODEL_FILE = "model.onnx"
_WEIGHTS_FILE = "model.weights"
_LEAST_BYTES = 1024  # smaller tensors stay in the model's own file
_TOKENS = 6
_PROVIDERS = ["CPUExecutionProvider"]
_ERROR = 3  # the log's level: that the file is for this machine only is no news


def packed_name(model: str, weights: str) -> str:
    """What a packing of the model with fingerprint `model` is called: others are for other processors and runtimes.

    weights: what became of them before, in the word of who calls.
    """
    made_for = {"model": model, "runtime": onnxruntime.__version__, "processor": processor(), "weights": weights}
    return fingerprint(made_for)[:32]


def pack(model: Path, into: Path) -> None:
    """Write `model` into the directory `into` with packed weights beside it, which are mapped when it is opened.

    Raises:
        BadModel: it cannot be opened, not be written in this way, or is not the same when it is opened again.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERROR
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(into / MODEL_FILE)
    for name, value in {
        "session.optimized_model_external_initializers_file_name": _WEIGHTS_FILE,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(_LEAST_BYTES),
        "session.save_external_prepacked_constant_initializers": "1",
    }.items():
        options.add_session_config_entry(name, value)
    try:
        before = _tried(onnxruntime.InferenceSession(str(model), options, providers=_PROVIDERS))
        after = _tried(onnxruntime.InferenceSession(str(into / MODEL_FILE), providers=_PROVIDERS))
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise BadModel(f"ONNX Runtime cannot pack {model.name}: {error}", advice="Export it again.") from error
    if not np.array_equal(before, after, equal_nan=True):
        raise BadModel(f"{model.name} gives other vectors when it is packed.", advice="It is used as it is.")


def _tried(session: onnxruntime.InferenceSession) -> np.ndarray:
    """Vectors of a few made-up texts: token numbers that every vocabulary has, one of the texts with padding."""
    ids = np.arange(2 * _TOKENS, dtype=np.int64).reshape(2, _TOKENS)
    mask = np.ones_like(ids)
    mask[1, _TOKENS // 2 :] = 0
    vectors: np.ndarray = session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})[0]
    return vectors
