"""Models packed for this machine, kept for this user: the processes that open one map the same file.

ONNX Runtime packs the weights of a model anew in each process, and each holds a copy of its own. Processes that map a
file of them share it in memory and in the processor's cache. Where the processor multiplies bytes, the weights are
written in 8 bits first, if the vectors stay close enough. Figures are in docs/decisions.md. A packing holds nothing
that cannot be made again, so whatever is wrong with one, the model is opened as it was exported.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kaizen.errors import BadModel, Conflict, Corrupt, KaizenError, NotFound
from kaizen.heap import return_freed_memory
from kaizen.models.location import fingerprint_of, read_json
from kaizen.models.onnx_cache import user_cache
from kaizen.models.packed_weights import MODEL_FILE, pack, packed_name
from kaizen.models.processor import multiplies_bytes
from kaizen.storage.local_store import LocalStore
from kaizen.storage.object_store import holds

log = logging.getLogger("kaizen.packed_models")

# Those of a stable release, of the one before and of a challenger, for documents and for queries.
KEPT = 6
# In the name of a packing: others are made by versions that write them otherwise.
_EIGHT_BITS, _AS_EXPORTED = "8 bits, by token and by block, smoothed by .7", "as exported"


class PackedModels:
    """Packings under `root`, of which the KEPT last opened stay. Default: in the user's cache."""

    def __init__(self, root: Path | None = None) -> None:
        self._given = root

    def of(self, export: Path) -> Path | None:
        """The packed model of a directory that `export_onnx` wrote, made on first use; None when there can be none."""
        try:
            return self._of(export) / MODEL_FILE
        except (KaizenError, OSError, RuntimeError) as error:  # RuntimeError: a user without a home
            log.warning("the model is not packed: %s", error)
            return None

    def _of(self, export: Path) -> Path:
        root = self._given or user_cache() / "packed"
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        weights = _EIGHT_BITS if multiplies_bytes() else _AS_EXPORTED
        store, name = LocalStore(root), packed_name(str(read_json(export / "record.json").get("onnx")), weights)
        with suppress(Corrupt, NotFound):
            return _checked(store, root, name)
        with _alone(root):
            return _found_or_made(store, root, name, export)


def _found_or_made(store: LocalStore, root: Path, name: str, export: Path) -> Path:
    try:
        return _checked(store, root, name)  # another process was first
    except Corrupt as error:
        log.warning("made again: %s", error)
        shutil.rmtree(root / name)
    except NotFound:  # or only its manifest is gone
        if (root / name).exists() and not holds(store, name):
            shutil.rmtree(root / name)
    _make(store, name, export)
    _forget_old(store, root)
    return _checked(store, root, name)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process makes what all that start with it wait for. Who is killed lets go."""
    with (root / ".making").open("w") as lock:
        with suppress(OSError):  # a file system without locks: each makes its own
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _checked(store: LocalStore, root: Path, name: str) -> Path:
    with suppress(FileNotFoundError):
        os.utime(root / name)  # first, so that nobody takes it for old meanwhile
    return store.fetch_directory(name)


def _make(store: LocalStore, name: str, export: Path) -> None:
    """Pack what the record names and nothing else: by this name every other export of the same model finds it."""
    if read_json(export / "record.json").get("onnx") != fingerprint_of(export / MODEL_FILE):
        raise BadModel(f"The ONNX file in {export} is not the one that was exported.", advice="Export it again.")
    with tempfile.TemporaryDirectory() as fresh, tempfile.TemporaryDirectory() as scratch:
        pack(_smallest(export, Path(scratch)), Path(fresh))
        with suppress(Conflict):  # somebody who does not wait was first
            store.put_directory(name, Path(fresh))
    return_freed_memory()


def _smallest(export: Path, scratch: Path) -> Path:
    """The export's model in 8 bits where that pays and is close enough, else as it is."""
    if not multiplies_bytes():
        return export / MODEL_FILE
    from kaizen.models.eight_bits import write_in_eight_bits  # ONNX is needed to make a packing, not to open one

    try:
        write_in_eight_bits(export, scratch / MODEL_FILE)
    except BadModel as error:
        log.info("%s", error)
        return export / MODEL_FILE
    return scratch / MODEL_FILE


def _forget_old(store: LocalStore, root: Path) -> None:
    with suppress(KaizenError, OSError):  # another process may be at it
        opened = sorted(store.list(), key=lambda name: (root / name).stat().st_mtime)
        for old in opened[:-KEPT]:
            store.delete(old)
