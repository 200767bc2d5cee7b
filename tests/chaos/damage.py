"""Damage to what lies in an object store, and a look at what is served in spite of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from kaizen.errors import KaizenError
from kaizen.indexing import batch
from kaizen.indexing.generation import GenerationStore
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.release import index_of
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import View
from kaizen.workspace import Workspace
from tests.chaos.small_index import stable

ASKED = ["the pump", "a valve is a gear"]
Content = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Bit:
    """A bit of a file."""

    path: Path
    number: int

    def flip(self) -> None:
        """Turn it round; done twice it is as it was."""
        data = bytearray(self.path.read_bytes())
        data[self.number // 8] ^= 1 << self.number % 8
        self.path.write_bytes(data)


def any_bit(paths: list[Path], chance: Random) -> Bit:
    """A bit of one of the files, each as likely as the others, however large."""
    path = chance.choice(paths)
    return Bit(path, chance.randrange(8 * path.stat().st_size))


def files_of(objects: Path) -> list[Path]:
    """All files of the index, the models and the batches."""
    return sorted(path for path in objects.rglob("*") if path.is_file() and path.stat().st_size)


class Served:
    """What would be served of an object store; what was served while it was whole is remembered."""

    def __init__(self, parts: Workspace) -> None:
        self._parts = parts
        self._root = Path(parts.store.uri)
        self._release = stable(parts)
        self._whole = {name: self._look(name)[0] for name in self.objects()}
        self._previous = {name: self._previous_of(name) for name in self.objects() if name.startswith("index/")}

    def objects(self) -> list[str]:
        """What is served each by itself: shards of the index, models, batches."""
        return sorted({self._object_of(path) for path in files_of(self._root)})

    def wrong(self, path: Path) -> list[str]:
        """What is served wrongly now that this file is damaged: neither refused, nor as it was, nor the one before."""
        name = self._object_of(path)
        try:
            content, refused = self._look(name)
        except KaizenError:
            return []
        except Exception as error:  # noqa: BLE001 (anything else would end a process instead of being refused)
            return [f"{path.name} of {name}: {type(error).__name__}: {error}"]
        allowed = [self._whole[name], self._previous[name], ()] if refused else [self._whole[name]]
        return [] if content in allowed else [f"{path.name} of {name} was served damaged"]

    def _object_of(self, path: Path) -> str:
        parts = path.relative_to(self._root).parts
        return "/".join(parts[: 3 if parts[0] == "index" else 2])

    def _look(self, name: str) -> tuple[Content, bool]:
        """What is served of an object, and whether something was refused on the way."""
        if name.startswith("index/"):
            loaded = self._generations(name).load()
            return tuple(_content(loaded.view)), bool(loaded.refused)
        if name.startswith("batches/"):
            return tuple(self._batch(name)), False
        spec = EmbedderSpec.from_record(self._release.parts["embedder"])
        return (OnnxEmbedder(spec, self._parts.store.fetch_directory(name)).embed(ASKED).tobytes(),), False

    def _batch(self, name: str) -> Iterator[object]:
        yield batch.read_documents(self._parts.store, name)
        chunks = batch.read_chunks(self._parts.store, name, index_of(self._release).made_by)
        yield None if chunks is None else chunks.to_pylist()

    def _generations(self, shard: str) -> GenerationStore:
        return GenerationStore(self._parts.store, shard, self._parts.ledger.documents)

    def _previous_of(self, shard: str) -> Content:
        store = self._generations(shard)
        return tuple(_content(store._load_one(store._pointer()["previous"] or "", {})))


def _content(view: View) -> Iterator[object]:
    """All that a search of a view depends on."""
    for live in view.segments:
        yield live.alive.tobytes()
        yield from _segment(live.segment)


def _segment(segment: Segment) -> Iterator[object]:
    words = segment.lexical
    yield segment.table.to_pylist()
    yield words.vocabulary
    for array in (segment.keys, segment.vectors.vectors, words.starts, words.rows, words.counts, words.lengths):
        yield np.ascontiguousarray(array).tobytes()
