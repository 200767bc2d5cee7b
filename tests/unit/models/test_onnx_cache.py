"""Exports kept between workspaces: made once, made again when damaged."""

from __future__ import annotations

from pathlib import Path

from kaizen.config import EmbedderSettings
from kaizen.models.embedder_spec import read_spec
from kaizen.models.onnx_cache import ensure_onnx, is_whole


def test_made_once_and_again_when_a_byte_has_flipped(tmp_path: Path) -> None:
    spec = read_spec(EmbedderSettings().model)
    directory = ensure_onnx(spec, tmp_path)
    made = (directory / "model.onnx").stat().st_mtime_ns
    assert (ensure_onnx(spec, tmp_path) / "model.onnx").stat().st_mtime_ns == made
    damaged = bytearray((directory / "model.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (directory / "model.onnx").write_bytes(bytes(damaged))
    assert not is_whole(directory, spec)
    assert is_whole(ensure_onnx(spec, tmp_path), spec)
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]
