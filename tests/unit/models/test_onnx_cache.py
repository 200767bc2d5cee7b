"""Exports kept between workspaces: made once, made again when damaged."""

from __future__ import annotations

from pathlib import Path

from kaizen.models.embedder_spec import read_spec
from kaizen.models.onnx_cache import ensure_onnx, is_whole
from tests.unit.models.tiny_model import write_tiny_model


def test_made_when_what_is_there_is_torn_and_then_kept(tmp_path: Path) -> None:
    spec = read_spec(str(write_tiny_model(tmp_path / "model")))
    cache = tmp_path / "cache"
    torn = cache / spec.fingerprint[:16]
    torn.mkdir(parents=True)
    (torn / "record.json").write_text('{"source": ')
    directory = ensure_onnx(spec, cache)
    assert is_whole(directory, spec)
    assert [path.name for path in cache.iterdir()] == [directory.name]
    made = (directory / "model.onnx").stat().st_mtime_ns
    assert (ensure_onnx(spec, cache) / "model.onnx").stat().st_mtime_ns == made
    damaged = bytearray((directory / "model.onnx").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (directory / "model.onnx").write_bytes(bytes(damaged))
    assert not is_whole(directory, spec)
