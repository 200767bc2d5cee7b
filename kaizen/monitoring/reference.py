"""The reference that drift is measured from: a window of a release's traffic, kept as a small artifact."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kaizen.errors import Corrupt, NotFound
from kaizen.monitoring.window import Window
from kaizen.storage.object_store import ObjectStore

_COUNTS = "units"  # what its rates are of: earlier ones are of requests


@dataclass(frozen=True, slots=True)
class Reference:
    """The traffic of `release` when it was well known. `sketch`: (queries, SKETCH_DIM) float32. No query's text."""

    release: str
    window: Window
    sketch: np.ndarray


def reference_name(release: str, after: int, until: int) -> str:
    """Where the reference of a release lies that was taken from the impressions in (after, until]."""
    return f"monitoring/reference-{release}-{after}-{until}"


def write_reference(store: ObjectStore, name: str, reference: Reference) -> None:
    """Keep a reference for good, without its texts: these stay in the ledger, where they can be erased."""
    record = {"release": reference.release, "counts": _COUNTS, "window": {**asdict(reference.window), "queries": ()}}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "record.json").write_text(json.dumps(record, sort_keys=True))
        np.save(Path(folder) / "sketch.npy", reference.sketch, allow_pickle=False)
        store.put_directory(name, Path(folder))


def read_reference(store: ObjectStore, name: str) -> Reference | None:
    """Return a reference, None when there is none.

    One that was damaged, or is of a version that counted otherwise, is deleted: it is taken anew.
    """
    try:
        folder = store.fetch_directory(name)
    except NotFound:
        return None
    except Corrupt:
        store.delete(name)
        return None
    record = json.loads((folder / "record.json").read_text())
    if record.get("counts") != _COUNTS:
        store.delete(name)
        return None
    window = Window(**{**record["window"], "queries": (), "cosines": tuple(record["window"]["cosines"])})
    return Reference(record["release"], window, np.load(folder / "sketch.npy", allow_pickle=False))
