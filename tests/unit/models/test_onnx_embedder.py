"""Query embedding: the export equals torch, stays light, and is refused when it is not what was exported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kaizen.config import EmbedderSettings
from kaizen.errors import BadModel, ConfigError
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import EmbedderSpec, read_spec
from kaizen.models.onnx_export import export_onnx
from kaizen.models.onnx_sample import SAMPLE
from tests.unit.models.conftest import BertMaker
from tests.unit.models.test_torch_embedder import plain_vectors

SETTINGS = EmbedderSettings()


def check_export(directory: Path, into: Path) -> None:
    """Export the model in `directory`: it gives torch's vectors, and the record says so."""
    spec = read_spec(str(directory))
    record = export_onnx(spec, into)
    got = open_embedder(spec, SETTINGS, "query", onnx_directory=into).embed(SAMPLE)
    assert (got * plain_vectors(directory, SAMPLE)).sum(axis=1).min() > 0.9999
    assert record["least_cosine"] > 0.9999
    assert record == json.loads((into / "record.json").read_text())


@pytest.mark.parametrize("shape", [{"pooling": "cls_token"}, {"pooling": "mean_tokens", "hidden_act": "gelu_new"}])
def test_the_export_equals_torch(make_bert: BertMaker, tmp_path: Path, shape: dict[str, object]) -> None:
    check_export(make_bert(**shape), tmp_path)


def test_a_replica_needs_neither_torch_nor_transformers(spec: EmbedderSpec, exported: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from kaizen.config import EmbedderSettings
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import EmbedderSpec
spec = EmbedderSpec.from_record({spec.record()!r})
vectors = open_embedder(spec, EmbedderSettings(), "query", onnx_directory=Path({str(exported)!r})).embed(["hello"])
print(vectors.shape, sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 64) []"


def test_threads_do_not_disturb_each_other(spec: EmbedderSpec, exported: Path) -> None:
    embedder = open_embedder(spec, SETTINGS, "query", onnx_directory=exported)
    alone = [embedder.embed([text]) for text in SAMPLE]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: embedder.embed([text]), SAMPLE))
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone))


def test_many_texts_take_the_memory_of_a_few(spec: EmbedderSpec, exported: Path) -> None:
    """A long document is hundreds of texts: in one call their attention alone would take gigabytes."""
    program = f"""
import resource
from pathlib import Path
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
embedder = OnnxEmbedder(EmbedderSpec.from_record({spec.record()!r}), Path({str(exported)!r}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
embedder.embed(["pump " * 60, "valve " * 50] * 1500)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100, "MiB"


def test_texts_come_back_in_their_order_whatever_their_length(spec: EmbedderSpec, exported: Path) -> None:
    embedder = open_embedder(spec, SETTINGS, "query", onnx_directory=exported)
    texts = [word * (1 + 7 * number % 60) for number in range(40) for word in ("pump ", "valve ")]
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    np.testing.assert_allclose(embedder.embed(texts), alone, atol=1e-5)
    assert embedder.embed([]).shape == (0, 64)


def test_nan_weights_are_refused_at_export(make_bert: BertMaker, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="NaN"):
        export_onnx(read_spec(str(make_bert(pooling="mean_tokens", spoil=True))), tmp_path)
    assert not (tmp_path / "record.json").exists()


def test_a_flipped_bit_is_refused(spec: EmbedderSpec, exported: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(exported, tmp_path / "onnx"))
    data = bytearray((directory / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (directory / "model.onnx").write_bytes(data)
    with pytest.raises(BadModel, match="not the one that was exported"):
        open_embedder(spec, SETTINGS, "query", onnx_directory=directory)


def test_the_export_of_another_embedder_is_refused(exported: Path) -> None:
    with pytest.raises(BadModel, match="of another embedder"):
        open_embedder(read_spec(SETTINGS.model), SETTINGS, "query", onnx_directory=exported)


def test_without_an_export_the_error_says_so(spec: EmbedderSpec) -> None:
    with pytest.raises(ConfigError, match="ONNX export"):
        open_embedder(spec, SETTINGS, "query")
