"""Export an embedder to ONNX, and prove on real text that the export computes the same vectors."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from kaizen.errors import BadModel
from kaizen.models.bert import read_bert
from kaizen.models.bert_graph import can_write, write_bert
from kaizen.models.embedder_spec import EmbedderSpec, Pooling
from kaizen.models.encoder import load_encoder, pool
from kaizen.models.location import Find, fingerprint_of, locate
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.tokens import EmbedderTokenizer

MIN_COSINE = 0.9999
_BATCH = 8


class _Sentence(torch.nn.Module):
    """Encoder, pooling and normalisation as one graph: ids and mask (n, length) int64 -> (n, dim) float32."""

    def __init__(self, encoder: torch.nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool(hidden, attention_mask, self.pooling)


def export_onnx(spec: EmbedderSpec, directory: Path, find: Find = locate) -> dict[str, Any]:
    """Write `model.onnx`, `tokenizer.json` and `record.json` to `directory`; return the record.

    The export is compared with torch in float32 on `SAMPLE`.

    Raises:
        BadModel: a vector is NaN or zero, or its cosine with torch's is under 0.9999.
    """
    source = find(spec.model)
    if fingerprint_of(source) != spec.fingerprint:
        raise BadModel(f"The files of {spec.model!r} are not those of this release.", advice="Restore or rebuild.")
    # What embeds the documents, too: it is their space that an export must share.
    encoder = read_bert(source) or load_encoder(source, "eager")
    module = _Sentence(encoder, spec.pooling).eval()
    if can_write(encoder):
        write_bert(encoder, spec.pooling, directory / "model.onnx")
    else:
        _trace(module, directory / "model.onnx")
    shutil.copyfile(source / "tokenizer.json", directory / "tokenizer.json")
    record: dict[str, Any] = {
        "source": spec.fingerprint,
        "onnx": fingerprint_of(directory / "model.onnx"),
        "embedder": spec.record(),
    }
    _write_record(directory, record)
    try:
        record["least_cosine"] = _agreement(spec, module, directory)
    except BadModel:
        (directory / "record.json").unlink()  # without it nobody opens the export
        raise
    _write_record(directory, record)
    return record


def _trace(module: torch.nn.Module, file: Path) -> None:
    """Write any other architecture with torch's own exporter."""
    ids = torch.randint(100, 1000, (2, 16))  # any tokens will do: only shapes are traced
    mask = torch.ones_like(ids)
    rows, length = torch.export.Dim("rows"), torch.export.Dim("length")
    shapes = ({0: rows, 1: length}, {0: rows, 1: length})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own insides
        program = torch.onnx.export(
            module, (ids, mask), dynamo=True, dynamic_shapes=shapes, verbose=False,
            input_names=["input_ids", "attention_mask"], output_names=["vectors"],
        )  # fmt: skip
        cast(torch.onnx.ONNXProgram, program).save(str(file))


def _write_record(directory: Path, record: dict[str, Any]) -> None:
    (directory / "record.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")


def _agreement(spec: EmbedderSpec, module: torch.nn.Module, directory: Path) -> float:
    """The least cosine of the export, in small batches with padding, to torch on each text by itself."""
    opened = OnnxEmbedder(spec, directory, prompt="")
    exported = np.concatenate([opened.embed(SAMPLE[i : i + _BATCH]) for i in range(0, len(SAMPLE), _BATCH)])
    tokenizer = EmbedderTokenizer(directory, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
    with _one_thread(), torch.inference_mode():
        rows = [torch.tensor([tokens]) for tokens in tokenizer.encode(SAMPLE)]
        wanted = torch.cat([module(row, torch.ones_like(row)) for row in rows]).numpy()
    least = float((exported * wanted).sum(axis=1).min())
    if not least >= MIN_COSINE:
        raise BadModel(f"The ONNX export of {spec.model!r} has cosine {least:.6f} to torch; {MIN_COSINE} is asked.",
                       advice="Use another embedder, or set embedder.placement to actor.")  # fmt: skip
    return least


@contextmanager
def _one_thread() -> Iterator[None]:
    """One text is too little work for two threads: beside other work they wait ten times as long as they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
