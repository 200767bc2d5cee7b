"""BERT's layers as an ONNX graph, written down directly: one second, where torch's exporter takes ten to fifty.

Standard operators only. Whoever writes one compares its vectors with torch's (see `onnx_export`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from kaizen.models.embedder_spec import Pooling

_OPSET = 20  # the first with Gelu
_IR = 10
_MASKED = -1e9  # added to the score of a padding token before the softmax: e^-1e9 is 0 in float32
_MOST_BYTES = 2_000_000_000  # what one protobuf file can hold
_GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_POSITIONS = ("bert", "roberta", "xlm-roberta", "camembert")
Array = npt.NDArray[Any]


def can_write(encoder: Any) -> bool:  # noqa: ANN401 (transformers' own)
    """Return whether `encoder` has the layout that `write_bert` knows, in a size that one file can hold."""
    config = encoder.config
    return (
        config.model_type in _POSITIONS
        and config.hidden_act in _GELUS
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and 4 * sum(p.numel() for p in encoder.parameters()) < _MOST_BYTES
    )


def write_bert(encoder: Any, pooling: Pooling, file: Path) -> None:  # noqa: ANN401 (transformers' own)
    """Write `encoder`, pooling and normalisation: ids and mask (rows, length) int64 -> vectors (rows, dim) float32."""
    graph = _Graph()
    x = _embeddings(graph, encoder)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)  # (rows, length)
    scores_mask = graph.op("Mul", graph.op("Sub", graph.op("Unsqueeze", mask, graph.ints(1, 2)), graph.scalar(1.0)),
                           graph.scalar(-_MASKED))  # fmt: skip
    for layer in encoder.encoder.layer:
        x = _layer(graph, layer, x, scores_mask, encoder.config)
    graph.op("Identity", _unit(graph, _pooled(graph, x, mask, pooling)), output="vectors")
    graph.save(file, encoder.config.hidden_size)


class _Graph:
    """Collects nodes and weights; every method returns the name of what it made."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401 (as in onnx)
        name = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weight(self, value: Array) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        return self.weight(np.array(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        return self.weight(np.array(value, dtype=np.float32))

    def linear(self, x: str, weight: Array, bias: Array) -> str:
        return self.op("Add", self.op("MatMul", x, self.weight(weight.T)), self.weight(bias))

    def norm(self, x: str, norm: Any) -> str:  # noqa: ANN401 (torch's LayerNorm)
        scale, bias = self.weight(_array(norm.weight)), self.weight(_array(norm.bias))
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=float(norm.eps))

    def save(self, file: Path, dim: int) -> None:
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "length"])
                  for name in ("input_ids", "attention_mask")]  # fmt: skip
        outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["rows", dim])]
        graph = helper.make_graph(self._nodes, "embedder", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.save(model, str(file))


def _embeddings(graph: _Graph, encoder: Any) -> str:  # noqa: ANN401
    parts = encoder.embeddings
    # RoBERTa's family counts positions from pad_token_id + 1, BERT from 0.
    first = 0 if encoder.config.model_type == "bert" else encoder.config.pad_token_id + 1
    places = _array(parts.position_embeddings.weight)[first:] + _array(parts.token_type_embeddings.weight)[0]
    length = graph.op("Shape", "input_ids", start=1, end=2)
    words = graph.op("Gather", graph.weight(_array(parts.word_embeddings.weight)), "input_ids")
    seen = graph.op("Slice", graph.weight(places), graph.ints(0), length, graph.ints(0))
    return graph.norm(graph.op("Add", words, seen), parts.LayerNorm)


def _layer(graph: _Graph, layer: Any, x: str, mask: str, config: Any) -> str:  # noqa: ANN401
    attention = layer.attention
    mixed = graph.linear(_attention(graph, attention.self, x, mask, config), *_parameters(attention.output.dense))
    x = graph.norm(graph.op("Add", mixed, x), attention.output.LayerNorm)
    up = graph.linear(x, *_parameters(layer.intermediate.dense))
    down = graph.linear(graph.op("Gelu", up, approximate=_GELUS[config.hidden_act]), *_parameters(layer.output.dense))
    return graph.norm(graph.op("Add", down, x), layer.output.LayerNorm)


def _attention(graph: _Graph, attention: Any, x: str, mask: str, config: Any) -> str:  # noqa: ANN401
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    parts = [_parameters(part) for part in (attention.query, attention.key, attention.value)]
    parts[0] = (parts[0][0] / np.sqrt(np.float32(size)), parts[0][1] / np.sqrt(np.float32(size)))
    joined = graph.linear(x, np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts]))
    split = graph.op("Reshape", joined, graph.ints(0, 0, 3, heads, size))  # (rows, length, 3, heads, size)
    query, value = (_part(graph, split, i, (0, 2, 1, 3)) for i in (0, 2))
    key = _part(graph, split, 1, (0, 2, 3, 1))
    scores = graph.op("Softmax", graph.op("Add", graph.op("MatMul", query, key), mask), axis=-1)
    seen = graph.op("Transpose", graph.op("MatMul", scores, value), perm=(0, 2, 1, 3))
    return graph.op("Reshape", seen, graph.ints(0, 0, config.hidden_size))


def _part(graph: _Graph, split: str, index: int, order: Sequence[int]) -> str:
    return graph.op("Transpose", graph.op("Gather", split, graph.weight(np.array(index)), axis=2), perm=order)


def _pooled(graph: _Graph, x: str, mask: str, pooling: Pooling) -> str:
    if pooling == "cls":
        return graph.op("Gather", x, graph.weight(np.array(0)), axis=1)
    weighted = graph.op("Mul", x, graph.op("Unsqueeze", mask, graph.ints(2)))
    total = graph.op("ReduceSum", weighted, graph.ints(1), keepdims=0)
    return graph.op("Div", total, graph.op("ReduceSum", mask, graph.ints(1), keepdims=1))


def _unit(graph: _Graph, x: str) -> str:
    return graph.op("Div", x, graph.op("ReduceL2", x, graph.ints(1), keepdims=1))


def _parameters(linear: Any) -> tuple[Array, Array]:  # noqa: ANN401
    return _array(linear.weight), _array(linear.bias)


def _array(tensor: Any) -> Array:  # noqa: ANN401
    values: Array = tensor.detach().numpy()
    return values
