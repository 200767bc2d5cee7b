"""Models that give no usable vector for some texts, in a running installation and for as long as a file says so.

    with spoilable(folder), started(configure(folder, {})) as product:
        with spoiling(product.config, "nan"):
            ...  # whatever holds MARK is embedded as NaN, documents and queries alike

The row is written where the model's own would be, so what looks at it afterwards is the product's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.chaos.without import without

MARK = "quagga"
VARIABLE = "CHAOS_SPOILT"  # in the environment of an installation's processes: the file
FILE = "spoilt-with"
SPOILT = {"kaizen.models.onnx_embedder:OnnxEmbedder.embed_checked": "tests.chaos.spoilt:spoilt"}
UNCHECKED = {"kaizen.models.onnx_embedder:bad_rows": "tests.chaos.spoilt:sees_nothing"}


@contextmanager
def spoilable(folder: Path, more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Installations configured in `folder` and started inside the block can be spoilt; `more`: as in `without`."""
    with mock.patch.dict(os.environ, {VARIABLE: str(folder / FILE)}), without({**SPOILT, **(more or {})}):
        yield


@contextmanager
def spoiling(config: Path, value: str) -> Iterator[None]:
    """During the block the installation with this configuration file gets rows of `value`: nan, inf or 0."""
    file = config.parent / FILE
    file.write_text(value)
    try:
        yield
    finally:
        file.unlink()


def spoilt(original: Callable[..., Any]) -> Callable[..., Any]:
    """`OnnxEmbedder.embed_checked`: some rows of the model are what the file says."""

    def embed_checked(embedder: object, texts: Sequence[str]) -> Any:  # noqa: ANN401
        from kaizen.models import onnx_embedder

        vectors, bad = original(embedder, texts)
        value = _value()
        if value is None:
            return vectors, bad
        for row, text in enumerate(texts):
            if MARK in text:
                vectors[row] = value
        return vectors, onnx_embedder.bad_rows(vectors)

    return embed_checked


def sees_nothing(_: object) -> Callable[[object], tuple[int, ...]]:
    """`bad_rows`: every vector is as good as the other."""
    return lambda _: ()


def _value() -> float | None:
    try:
        content = Path(os.environ[VARIABLE]).read_text()
    except FileNotFoundError:
        return None
    return float(content) if content else None
