"""The two embedders against plain transformers on the default model, and what they refuse."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import load_file, save_file

from kaizen.config import EmbedderSettings
from kaizen.errors import BadModel, ConfigError
from kaizen.models.embedder import Embedder, open_embedder
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.location import locate
from kaizen.models.onnx_cache import ensure_onnx
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.models.vectors import Vectors
from tests.unit.models.tiny_model import WORDS, write_tiny_model

SETTINGS = EmbedderSettings(bulk_threads=1, batch_tokens=512, device="cpu")
TEXTS = (
    "The cooling pump of unit 7 failed after a bearing ran dry.",
    "",
    "How high is the lighthouse?",
    "Boundary layers on a swept wing separate earlier at Mach 0.85. " * 40,
    "?",
    "Ungl\xfcckliche \xc4pfel fielen in den Flu\xdf.",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002",
    "\U0001f680 launch at 09:41",
    "x" * 400,
    "SELECT name FROM visits WHERE year = 1969;",
    "Rollo's successors, among them Richard I, held Normandy until 1204. " * 6,
    "\u041c\u043e\u0441\u043a\u0432\u0430 \u2014 \u0441\u0442\u043e\u043b\u0438\u0446\u0430.",
)


@pytest.fixture(scope="module")
def spec(default_spec: EmbedderSpec) -> EmbedderSpec:
    return default_spec


@pytest.fixture(scope="module")
def export(default_export: Path) -> Path:
    return default_export


@pytest.fixture(scope="module")
def onnx_embedder(spec: EmbedderSpec, export: Path) -> Embedder:
    return open_embedder(spec, SETTINGS, "query", onnx_directory=export)


@pytest.fixture(scope="module")
def torch_embedder(spec: EmbedderSpec) -> Embedder:
    return open_embedder(spec, SETTINGS, "bulk")


def plain_transformers(directory: Path, texts: Sequence[str], max_tokens: int) -> Vectors:
    """Each text by itself in float32: no padding, no batches, none of our code."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(directory))
    model = AutoModel.from_pretrained(str(directory), dtype=torch.float32).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_tokens)
            rows.append(model(**tokens).last_hidden_state[0].mean(0))
    vectors: Vectors = torch.nn.functional.normalize(torch.stack(rows), dim=1).numpy()
    return vectors


def test_both_agree_with_plain_transformers(
    spec: EmbedderSpec, onnx_embedder: Embedder, torch_embedder: Embedder
) -> None:
    wanted = plain_transformers(locate(spec.model), TEXTS, 256)
    for embedder, least in ((onnx_embedder, 0.9999), (torch_embedder, 0.999)):
        vectors = embedder.embed(TEXTS)
        assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
        assert float((vectors * wanted).sum(1).min()) >= least


def test_rows_keep_their_order_through_batches_sorted_by_length(
    onnx_embedder: Embedder, torch_embedder: Embedder
) -> None:
    texts = [f"Item {n}: " + "valves and pumps, " * (n * 7 % 23) for n in range(40)]
    for embedder in (onnx_embedder, torch_embedder):
        together = embedder.embed(texts)
        alone = np.concatenate([embedder.embed([text]) for text in texts])
        assert (alone @ together.T).argmax(1).tolist() == list(range(len(texts)))


class Watched:
    """A session that counts the tokens of its calls, and those that are padding."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self.tokens = self.padding = 0

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        mask = inputs["attention_mask"]
        self.tokens += mask.size
        self.padding += mask.size - int(mask.sum())
        outputs: list[np.ndarray] = self._session.run(names, inputs)
        return outputs


def test_queries_of_unlike_length_are_hardly_padded(onnx_embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(getattr(onnx_embedder, "_session"))  # noqa: B009 (private: what a call costs is seen only there)
    monkeypatch.setattr(onnx_embedder, "_session", watched)
    onnx_embedder.embed(["pump " * (1 + n) for n in range(16)])
    assert watched.padding < 0.2 * watched.tokens  # in one call it would be almost half


def tiny_with_nan(directory: Path, word: str) -> EmbedderSpec:
    """A model whose vector is NaN for every text that holds `word`."""
    file = write_tiny_model(directory) / "model.safetensors"
    weights = load_file(str(file))
    weights["embeddings.word_embeddings.weight"][WORDS.index(word)] = float("nan")
    save_file(weights, str(file), metadata={"format": "pt"})
    return read_spec(str(directory))


def test_rows_that_are_nan_are_named_and_refused(tmp_path: Path) -> None:
    spec = tiny_with_nan(tmp_path / "model", "valve")
    query = open_embedder(spec, SETTINGS, "query", onnx_directory=ensure_onnx(spec, tmp_path / "onnx"))
    texts = ["pump", "the valve", "motor belt gear", "valve of a pump"]
    for embedder in (query, open_embedder(spec, SETTINGS, "bulk")):
        vectors, bad = embedder.embed_checked(texts)
        assert bad == (1, 3)
        assert np.isfinite(vectors[[0, 2]]).all()
        assert embedder.embed([texts[0], texts[2]]).shape == (2, 32)
        with pytest.raises(BadModel, match="2 of 4"):
            embedder.embed(texts)


def test_files_of_another_embedder_are_refused(spec: EmbedderSpec, export: Path, tmp_path: Path) -> None:
    other = read_spec(str(write_tiny_model(tmp_path / "model")))
    with pytest.raises(BadModel, match="of another embedder"):
        OnnxEmbedder(other, export)
    copy = Path(shutil.copytree(ensure_onnx(other, tmp_path / "onnx"), tmp_path / "copy"))
    shutil.copyfile(export / "model.onnx", copy / "model.onnx")
    with pytest.raises(BadModel, match="not the one that was exported"):
        OnnxEmbedder(other, copy)
    write_tiny_model(tmp_path / "model", seed=1)
    with pytest.raises(BadModel, match="not those of this release"):
        open_embedder(other, SETTINGS, "bulk")
    with pytest.raises(ConfigError):
        open_embedder(other, SETTINGS, "query")
