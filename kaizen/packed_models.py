"""Models packed for this machine, kept for this user: the processes that open one map the same file.

ONNX Runtime packs the weights of a model anew in each process, and each holds a copy of its own. Processes that map a
file of them share it in memory and in the processor's cache; figures are in docs/decisions.md. A packing holds nothing
that cannot be made again, so whatever is wrong with one, the model is opened as it was exported.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from kaizen.errors import Conflict, Corrupt, KaizenError
from kaizen.models.location import read_json
from kaizen.models.packed_weights import MODEL_FILE, pack, packed_name
from kaizen.storage.local_store import LocalStore
from kaizen.storage.object_store import holds

log = logging.getLogger("kaizen.packed_models")

# The encoders of the stable release, of the one before, and of a challenger, and one to spare.
KEPT = 4


class PackedModels:
    """Packings under `root`, of which the KEPT last used stay."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def of(self, export: Path) -> Path | None:
        """The packed model of a directory that `export_onnx` wrote, made on first use; None when there can be none."""
        try:
            return self._of(export) / MODEL_FILE
        except (KaizenError, OSError) as error:
            log.warning("the model is not packed: %s", error)
            return None

    def _of(self, export: Path) -> Path:
        name = packed_name(str(read_json(export / "record.json").get("onnx")))
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = LocalStore(self._root)
        if not holds(store, name):
            self._make(store, name, export)
        try:
            directory = store.fetch_directory(name)
        except Corrupt:
            store.delete(name)  # made again at the next start
            raise
        os.utime(directory)
        return directory

    def _make(self, store: LocalStore, name: str, export: Path) -> None:
        with tempfile.TemporaryDirectory() as fresh:
            pack(export / MODEL_FILE, Path(fresh))
            try:
                store.put_directory(name, Path(fresh))
            except Conflict:  # another process was first
                return
        used = sorted(store.list(), key=lambda other: (self._root / other).stat().st_mtime)
        for old in used[:-KEPT]:
            store.delete(old)
