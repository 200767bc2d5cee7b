"""The weights of an exported encoder in 8 bits: a quarter of the bytes, and an embedding takes half of the time.

Weights and what they are multiplied with become whole numbers, with a scale for so many of them. Most products have one
scale for each token and one for each output, and are plain products of bytes; where a layer reads more than it writes,
after its activation function, a few numbers are far larger than the rest, and each block of 128 has a scale of its own
(ONNX Runtime's MatMulNBits). Rounding makes of a difference in the seventh digit, as a batch of another size makes it,
one in the fourth: so texts are computed one by one, and the same text has the same vector always.

A few dimensions of what a layer reads are large in every text, and would leave the others only a few steps: so each is
divided by a number that makes it more like the others, and its row of the weights multiplied by it, which changes
nothing but the rounding (SmoothQuant, arXiv:2211.10438).

The result is compared with the export before anybody gets it. Figures are in docs/decisions.md.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from kaizen.errors import BadModel
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.location import read_json
from kaizen.models.onnx_embedder import ONE_BY_ONE, open_session
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.tokens import EmbedderTokenizer

log = logging.getLogger("kaizen.eight_bits")

# Of a vector to the export's, over texts of every kind. All-MiniLM-L6-v2: .9992 and .997; not smoothed .996 and .983.
MIN_MEAN_COSINE = 0.999
MIN_COSINE = 0.99
BLOCK = 128
SMOOTHING = 0.7  # how much of the unlikeness goes to the weights
_STEPS = 127
_NOUGHT = 128  # the byte that stands for it
_ACTIVATIONS_TOO = 4  # accuracy_level of MatMulNBits: products of bytes
_DOMAIN = "com.microsoft"
_MOST_CHARACTERS = 400  # longer texts say nothing more and take most of the time
_TINY = 1e-5
Array = npt.NDArray[Any]


class _Product(NamedTuple):
    """A MatMul with constant weights (inputs, outputs)."""

    node: onnx.NodeProto
    weights: Array


def write_in_eight_bits(export: Path, file: Path) -> None:
    """Write the model of a directory that `export_onnx` wrote to `file`, its constant weights in 8 bits.

    Raises:
        BadModel: it has no such weights, is too large for one file, or its vectors are not close to the export's.
    """
    try:
        model, texts = onnx.load(export / "model.onnx"), _sample(export)
        wanted, largest = _watched(model, texts)
        try:
            _write(model, largest, file, blocks_only=False)
            _check(wanted, texts, file)
        except BadModel as error:
            log.info("%s", error)
            _write(model, largest, file, blocks_only=True)
            _check(wanted, texts, file)
    except BadModel:
        raise
    except Exception as error:  # errors of ONNX, its runtime and protobuf have no class in common
        raise BadModel(f"The model cannot be written in 8 bits: {error}", advice="It is used as it is.") from error


def _products(model: onnx.ModelProto) -> Iterator[_Product]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        weights = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weights is not None and weights.data_type == TensorProto.FLOAT and len(weights.dims) == 2:
            yield _Product(node, numpy_helper.to_array(weights))


def _sample(export: Path) -> list[list[int]]:
    spec = EmbedderSpec.from_record(cast("dict[str, Any]", read_json(export / "record.json")["embedder"]))
    tokenizer = EmbedderTokenizer(export, max_tokens=spec.max_tokens, lowercase=spec.lowercase)
    return tokenizer.encode([text for text in SAMPLE if len(text) <= _MOST_CHARACTERS])


def _watched(model: onnx.ModelProto, texts: Sequence[list[int]]) -> tuple[list[Array], dict[str, Array]]:
    """The exact vectors, and by name of what a product reads the largest that each dimension (inputs,) was."""
    names = sorted({product.node.input[0] for product in _products(model)})
    if not names:
        raise BadModel("The model has no matrices to write in 8 bits.", advice="It is used as it is.")
    outputs = model.graph.output
    outputs.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(model, Path(scratch) / "watched.onnx")
        session = open_session(Path(scratch) / "watched.onnx")
    del outputs[-len(names) :]
    vectors: list[Array] = []
    largest: dict[str, Array] = {}
    for text in texts:
        vector, *read = session.run(["vectors", *names], _input(text))
        vectors.append(vector[0])
        for name, values in zip(names, read, strict=True):
            seen = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, seen), seen)
    return vectors, largest


def _write(exported: onnx.ModelProto, largest: dict[str, Array], file: Path, *, blocks_only: bool) -> None:
    """Write the model with each product's smaller equivalent in its place."""
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    smaller: dict[str, _Smaller] = {}
    for node, weights in _products(model):
        inputs, outputs = weights.shape
        factor, by_block = _factor(largest[node.input[0]], weights), blocks_only or inputs > outputs
        smaller[node.output[0]] = _smaller(node, weights, factor, by_block=by_block)
    nodes = [
        new
        for node in model.graph.node
        for new in (smaller[node.output[0]].nodes if node.output[0] in smaller else [node])
    ]
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *(each for one in smaller.values() for each in one.constants)])
    helper.set_model_props(model, {ONE_BY_ONE: "in 8 bits"})
    if all(each.domain != _DOMAIN for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    onnx.save(model, file)


class _Smaller(NamedTuple):
    """What stands for a product."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


class _Names:
    """Nodes and constants of one product, named after its output."""

    def __init__(self, output: str) -> None:
        self._output = output
        self.made = _Smaller([], [])

    def constant(self, name: str, value: Array) -> str:
        full = f"{self._output}_{name}"
        self.made.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), full))
        return full

    def op(self, kind: str, *inputs: str, last: bool = False, **attributes: Any) -> str:  # noqa: ANN401 (as in onnx)
        output = self._output if last else f"{self._output}_{len(self.made.nodes)}"
        self.made.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def _smaller(node: onnx.NodeProto, weights: Array, factor: Array, *, by_block: bool) -> _Smaller:
    names = _Names(node.output[0])
    alike = names.op("Mul", node.input[0], names.constant("divisor", 1 / factor))
    (_by_block if by_block else _by_token)(names, alike, weights * factor[:, np.newaxis])
    return names.made


def _by_block(names: _Names, alike: str, weights: Array) -> None:
    numbers, scales = in_blocks(weights)
    names.op(
        "MatMulNBits",
        alike,
        names.constant("bytes", numbers),
        names.constant("scales", scales),
        last=True,
        domain=_DOMAIN,
        K=weights.shape[0],
        N=weights.shape[1],
        bits=8,
        block_size=BLOCK,
        accuracy_level=_ACTIVATIONS_TOO,
    )


def _by_token(names: _Names, alike: str, weights: Array) -> None:
    """A token of noughts is 0 / 0 in steps, which is some number, and times its scale of 0 is 0 again."""
    numbers, scales = by_output(weights)
    last_axis = names.constant("last_axis", np.array([-1], np.int64))
    scale = names.op("ReduceMax", names.op("Abs", alike), last_axis, keepdims=1)
    step = names.constant("step", np.array(1 / _STEPS, np.float32))
    nought = names.constant("nought", np.array(_NOUGHT, np.uint8))
    steps = names.op("QuantizeLinear", names.op("Div", alike, scale), step, nought)
    product = names.op(
        "MatMulIntegerToFloat",
        steps,
        names.constant("bytes", numbers),
        step,
        names.constant("scales", scales),
        nought,
        names.constant("noughts", np.zeros(len(scales), np.int8)),
        domain=_DOMAIN,
    )
    names.op("Mul", product, scale, last=True)


def _factor(largest: Array, weights: Array) -> Array:
    """(inputs,) float32: what each dimension is divided by, 1 on (geometric) average."""
    rows = np.abs(weights).max(axis=1)
    ratio = np.maximum(largest, _TINY) ** SMOOTHING / np.maximum(rows, _TINY) ** (1 - SMOOTHING)
    factor: Array = (ratio / np.exp(np.log(ratio).mean())).astype(np.float32)
    return factor


def by_output(weights: Array) -> tuple[Array, Array]:
    """Weights (inputs, outputs) as int8 of the same shape, and the scale of each output (outputs,) float32."""
    scales = np.abs(weights).max(axis=0) / _STEPS
    scales[scales == 0] = 1
    return np.rint(weights / scales).astype(np.int8), scales.astype(np.float32)


def in_blocks(weights: Array) -> tuple[Array, Array]:
    """Weights (inputs, outputs) as MatMulNBits reads them: uint8 (outputs, blocks, BLOCK), float32 (outputs, blocks).

    Row i of output o is (byte - 128) * scale of its block; a last block that is not full ends in noughts.
    """
    inputs, outputs = weights.shape
    padded = np.pad(weights, ((0, -inputs % BLOCK), (0, 0)))
    blocks = padded.T.reshape(outputs, -1, BLOCK)
    scales = np.abs(blocks).max(axis=2) / _STEPS
    scales[scales == 0] = 1
    numbers = np.rint(blocks / scales[:, :, np.newaxis]) + _NOUGHT
    return numbers.astype(np.uint8), scales.astype(np.float32)


def _check(wanted: Sequence[Array], texts: Sequence[list[int]], file: Path) -> None:
    session = open_session(file)
    got = [session.run(["vectors"], _input(text))[0][0] for text in texts]
    cosines = (np.array(wanted) * np.array(got)).sum(axis=1)
    mean, least = float(cosines.mean()), float(cosines.min())
    if not (mean >= MIN_MEAN_COSINE and least >= MIN_COSINE):
        raise BadModel(
            f"In 8 bits its vectors have cosine {mean:.4f} to the export's, {least:.4f} the least; "
            f"{MIN_MEAN_COSINE} and {MIN_COSINE} are asked.",
            advice="It is used as it is.",
        )
    log.info("in 8 bits: cosine %.5f to the export, %.5f the least", mean, least)


def _input(text: list[int]) -> dict[str, Array]:
    ids = np.array([text], dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
