"""Exports to ONNX that this user has made already: one takes half a minute, and every workspace needs the same one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from kaizen.errors import BadModel
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.location import fingerprint_of, read_json


def user_cache() -> Path:
    """Where this user keeps what can be made again (the XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaizen"


def ensure_onnx(spec: EmbedderSpec, cache: Path) -> Path:
    """Return the directory under `cache` with the export of `spec`, making it when no whole one is there.

    torch is imported only when one has to be made.

    Raises:
        BadModel: the export does not agree with torch, see `onnx_export.export_onnx`.
    """
    directory = cache / spec.fingerprint[:16]
    if not is_whole(directory, spec):
        from kaizen.models.onnx_export import export_onnx

        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = Path(tempfile.mkdtemp(dir=cache))
        try:
            export_onnx(spec, fresh)
            _put(fresh, directory, spec)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return directory


def is_whole(directory: Path, spec: EmbedderSpec) -> bool:
    """Whether `directory` holds the export of `spec`, with the bytes that its record names."""
    try:
        record = read_json(directory / "record.json")
        return record.get("source") == spec.fingerprint and record.get("onnx") == fingerprint_of(
            directory / "model.onnx"
        )
    except (BadModel, OSError):
        return False


def _put(fresh: Path, directory: Path, spec: EmbedderSpec) -> None:
    """Another process may have been first; a damaged export makes room."""
    if directory.exists() and not is_whole(directory, spec):
        shutil.rmtree(directory)
    try:
        fresh.rename(directory)
    except OSError:
        if not is_whole(directory, spec):
            raise
