"""Weights in 8 bits: close to the export on texts that nothing was chosen by, or refused; and the same always."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kaizen.errors import BadModel
from kaizen.models import eight_bits
from kaizen.models.eight_bits import BLOCK, by_output, in_blocks, write_in_eight_bits
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.processor import multiplies_bytes

# Of no benchmark, and none of the sample's.
TEXTS = (
    "how long may a visitor park here",
    "Can unused leave be carried over into the next year?",
    "restart the printer without losing jobs",
    "error 0x80070005 while installing",
    "who was the first woman to fly around the world alone",
    "Die Rechnung muss innerhalb von 30 Tagen bezahlt werden.",
    "effect of vitamin d on bone density in older men",
    "git: undo the last commit but keep the changes",
    "A committee of seven members, elected every two years, decides on applications. " * 8,
)
CHANCE = np.random.default_rng(5)
# Without the instructions a sum of two products is cut at 16 bits, one reason why no packing is made there.
BYTE_PRODUCTS = pytest.mark.skipif(not multiplies_bytes(), reason="this processor does not multiply bytes")


@pytest.fixture(scope="module")
def small(default_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedder that ships, in 8 bits."""
    file = tmp_path_factory.mktemp("small") / "model.onnx"
    write_in_eight_bits(default_export, file)
    return file


def test_the_default_embedder_is_close_and_smaller(
    default_spec: EmbedderSpec, default_export: Path, small: Path
) -> None:
    spec, export = default_spec, default_export
    wanted, got = OnnxEmbedder(spec, export).embed(TEXTS), OnnxEmbedder(spec, export, packed=small).embed(TEXTS)
    cosines = (wanted * got).sum(axis=1)
    assert 0.999 < cosines.min() <= cosines.mean() < 0.99999  # close, and not the export itself
    assert small.stat().st_size < 0.7 * (export / "model.onnx").stat().st_size


def test_without_smoothing_it_is_refused(default_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few large dimensions take the steps of all others of their block."""
    monkeypatch.setattr(eight_bits, "_factor", lambda _largest, weights: np.ones(len(weights), np.float32))
    with pytest.raises(BadModel, match=r"cosine 0\.99"):
        write_in_eight_bits(default_export, tmp_path / "model.onnx")


def test_what_is_not_close_is_refused(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose numbers are far too large."""

    def wrong(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers, scales = in_blocks(weights)
        return numbers, scales * np.float32(50)

    monkeypatch.setattr(eight_bits, "in_blocks", wrong)
    monkeypatch.setattr(eight_bits, "by_output", lambda weights: (0 * weights.astype(np.int8), weights[0]))
    with pytest.raises(BadModel, match="are asked"):
        write_in_eight_bits(exported, tmp_path / "model.onnx")


def test_a_graph_without_matrices_is_left_alone(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "none", [x], [y])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(BadModel, match="no matrices"):
        write_in_eight_bits(tmp_path, tmp_path / "small.onnx")


@pytest.mark.parametrize("damage", ["no model", ""])
def test_what_is_no_model_is_a_bad_model(exported: Path, tmp_path: Path, damage: str) -> None:
    (tmp_path / "record.json").write_bytes((exported / "record.json").read_bytes())
    (tmp_path / "model.onnx").write_text(damage)
    with pytest.raises(BadModel):
        write_in_eight_bits(tmp_path, tmp_path / "small.onnx")


def test_what_scales_of_tokens_spoil_is_done_by_blocks(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers, scales = by_output(weights)
        return numbers, scales * np.float32(50)

    monkeypatch.setattr(eight_bits, "by_output", wrong)
    write_in_eight_bits(exported, tmp_path / "model.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "MatMulNBits" in kinds
    assert "MatMulIntegerToFloat" not in kinds


def test_a_vector_does_not_depend_on_what_is_embedded_with_it(
    default_spec: EmbedderSpec, default_export: Path, small: Path
) -> None:
    opened = OnnxEmbedder(default_spec, default_export, packed=small)
    alone = np.concatenate([opened.embed([text]) for text in TEXTS])
    np.testing.assert_array_equal(opened.embed(TEXTS), alone)
    np.testing.assert_array_equal(opened.embed(TEXTS[::-1])[::-1], alone)


@pytest.mark.parametrize(
    ("inputs", "outputs"), [(BLOCK, 3), (2 * BLOCK, 5), (BLOCK + 7, 4), (9, 2), (BLOCK, 300), (9, 9)]
)
@pytest.mark.parametrize("by_block", [True, pytest.param(False, marks=BYTE_PRODUCTS)])
def test_the_smaller_product_is_the_product(tmp_path: Path, by_block: bool, inputs: int, outputs: int) -> None:
    """By ONNX Runtime beside numpy: of a last block that is not full, of an output and a token of noughts, too."""
    weights = CHANCE.normal(size=(inputs, outputs)).astype(np.float32)
    weights[:, 0] = 0
    factor = CHANCE.uniform(0.5, 2, inputs).astype(np.float32)
    made = eight_bits._smaller(helper.make_node("MatMul", ["x", "w"], ["y"]), weights, factor, by_block=by_block)
    graph = helper.make_graph(
        made.nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        made.constants,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "one.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "one.onnx"), providers=["CPUExecutionProvider"])
    x = CHANCE.normal(size=(6, inputs)).astype(np.float32)
    x[3] = 0
    (got,) = session.run(["y"], {"x": x})
    wanted = x @ weights
    assert np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()
    assert np.abs(got[:, 0]).max() < 1e-3
    assert np.abs(got[3]).max() < 1e-6


def test_each_weight_is_within_half_a_step() -> None:
    weights = CHANCE.normal(size=(BLOCK + 1, 4)).astype(np.float32)
    numbers, scales = in_blocks(weights)
    again = ((numbers.astype(np.float32) - 128) * scales[:, :, np.newaxis]).reshape(4, -1).T
    assert (np.abs(again[: len(weights)] - weights) <= 0.501 * scales.max()).all()
    assert not again[len(weights) :].any()


def test_the_sample_has_long_and_short_texts() -> None:
    """What the cosines are taken over must not shrink unseen."""
    lengths = [len(text) for text in SAMPLE if len(text) <= eight_bits._MOST_CHARACTERS]
    assert len(lengths) > 30
    assert min(lengths) == 0
    assert max(lengths) > 200
