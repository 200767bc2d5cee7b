"""The weights of an exported encoder in 8 bits: a quarter of the bytes, for which an embedding of a query mostly waits.

Weights and what they are multiplied with become whole numbers, each block of 128 with a scale of its own (ONNX
Runtime's MatMulNBits). In what a layer reads, a few dimensions are far larger than the others, and would leave these
only a few steps of their block: so each dimension is divided by a number that makes it more like the others, and its
row of the weights multiplied by it, which changes nothing but the rounding (SmoothQuant, arXiv:2211.10438).

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
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from kaizen.errors import BadModel
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.location import read_json
from kaizen.models.onnx_sample import SAMPLE
from kaizen.models.tokens import EmbedderTokenizer

log = logging.getLogger("kaizen.eight_bits")

# Of a vector to the export's, over texts of every kind. All-MiniLM-L6-v2 has .9995 and .998; without smoothing .9986.
MIN_MEAN_COSINE = 0.999
MIN_COSINE = 0.99
BLOCK = 128
SMOOTHING = 0.7  # how much of the unlikeness goes to the weights
_STEPS = 127
_NOUGHT = 128  # the byte that stands for it
_ACTIVATIONS_TOO = 4  # accuracy_level of MatMulNBits: products of bytes, summed exactly
_DOMAIN = "com.microsoft"
_MOST_CHARACTERS = 400  # longer texts say nothing more and take most of the time
_TINY = 1e-5
_PROVIDERS = ["CPUExecutionProvider"]
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
        model = onnx.load(export / "model.onnx")
        products = list(_products(model))
        if not products:
            raise BadModel("The model has no matrices to write in 8 bits.", advice="It is used as it is.")
        texts = _sample(export)
        wanted, largest = _watched(model, products, texts)
        _replace(model, products, largest)
        onnx.save(model, file)
        session = _session(file)
        _check(wanted, [_vector(session, text) for text in texts])
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


def _watched(
    model: onnx.ModelProto, products: Sequence[_Product], texts: Sequence[list[int]]
) -> tuple[list[Array], dict[str, Array]]:
    """The exact vectors, and by name of what a product reads the largest that each dimension (inputs,) was."""
    names = sorted({product.node.input[0] for product in products})
    outputs = model.graph.output
    outputs.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(model, Path(scratch) / "watched.onnx")
        session = _session(Path(scratch) / "watched.onnx")
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


def _replace(model: onnx.ModelProto, products: Sequence[_Product], largest: dict[str, Array]) -> None:
    """Put each product's smaller equivalent in its place."""
    graph, by_output = model.graph, {product.node.output[0]: product for product in products}
    nodes = [new for node in graph.node for new in _in_place_of(node, by_output.get(node.output[0]), graph, largest)]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    if all(each.domain != _DOMAIN for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))


def _in_place_of(
    node: onnx.NodeProto, product: _Product | None, graph: onnx.GraphProto, largest: dict[str, Array]
) -> list[onnx.NodeProto]:
    if product is None:
        return [node]
    factor = _factor(largest[node.input[0]], product.weights)
    numbers, scales = in_blocks(product.weights * factor[:, np.newaxis])
    name = node.output[0]
    constants = {f"{name}_divisor": 1 / factor, f"{name}_bytes": numbers, f"{name}_scales": scales}
    graph.initializer.extend(numpy_helper.from_array(value, each) for each, value in constants.items())
    inputs, outputs = product.weights.shape
    alike = helper.make_node("Mul", [node.input[0], f"{name}_divisor"], [f"{name}_alike"], name=f"{name}_alike")
    multiplied = helper.make_node(
        "MatMulNBits",
        [f"{name}_alike", f"{name}_bytes", f"{name}_scales"],
        [node.output[0]],
        name=name,
        domain=_DOMAIN,
        K=inputs,
        N=outputs,
        bits=8,
        block_size=BLOCK,
        accuracy_level=_ACTIVATIONS_TOO,
    )
    return [alike, multiplied]


def _factor(largest: Array, weights: Array) -> Array:
    """(inputs,) float32: what each dimension is divided by, 1 on (geometric) average."""
    rows = np.abs(weights).max(axis=1)
    ratio = np.maximum(largest, _TINY) ** SMOOTHING / np.maximum(rows, _TINY) ** (1 - SMOOTHING)
    factor: Array = (ratio / np.exp(np.log(ratio).mean())).astype(np.float32)
    return factor


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


def _check(wanted: Sequence[Array], got: Sequence[Array]) -> None:
    cosines = (np.array(wanted) * np.array(got)).sum(axis=1)
    mean, least = float(cosines.mean()), float(cosines.min())
    if not (mean >= MIN_MEAN_COSINE and least >= MIN_COSINE):
        raise BadModel(
            f"In 8 bits its vectors have cosine {mean:.4f} to the export's, {least:.4f} the least; "
            f"{MIN_MEAN_COSINE} and {MIN_COSINE} are asked.",
            advice="It is used as it is.",
        )
    log.info("in 8 bits: cosine %.5f to the export, %.5f the least", mean, least)


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=_PROVIDERS)


def _vector(session: onnxruntime.InferenceSession, text: list[int]) -> Array:
    vector: Array = session.run(["vectors"], _input(text))[0][0]
    return vector


def _input(text: list[int]) -> dict[str, Array]:
    ids = np.array([text], dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
