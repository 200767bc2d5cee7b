"""What a release is made of, and the names that follow from it. Parts are plain JSON objects, as they are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaizen.config import Answering, Chunking, GeneratorSettings, Retrieval, Settings
from kaizen.ids import fingerprint
from kaizen.indexing.prepare import made_by
from kaizen.records import Release
from kaizen.retrieval.analyser import Analyser

Part = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """The view of the documents that a release searches.

    Attributes:
        id: names its shards and its place in the object store.
        made_by: fingerprint of the embedder and chunking whose rows fit in it.
        embedder: artifact of the embedder in the object store.
    """

    id: str
    shards: int
    dim: int
    made_by: str
    chunking: Chunking
    embedder: str

    @property
    def prefix(self) -> str:
        """Where the index lies in the object store."""
        return f"index/{self.id}"

    def shard_prefix(self, shard: int) -> str:
        """Where one of its shards lies."""
        return f"{self.prefix}/shard-{shard:03d}"


def release_parts(settings: Settings, embedder: Part, prompt: Part, generator: Part) -> dict[str, Part]:
    """Bundle what runs under `settings` into the parts of a release, each with its fingerprint.

    Args:
        embedder: `artifact`, `fingerprint`, `dim`, `max_tokens` of the exported model.
        prompt, generator: records with a `fingerprint`.
    """
    chunking = settings.chunking.model_dump()
    index = {
        "shards": settings.fleet.shards,
        "dim": embedder["dim"],
        "made_by": made_by(embedder["fingerprint"], chunking),
        "chunking": chunking,
        "analyser": Analyser().record,
    }
    return {
        "embedder": embedder,
        "index": _with_fingerprint(index),
        "retrieval": _with_fingerprint(settings.retrieval.model_dump()),
        "prompt": prompt,
        "generator": generator,
    }


def index_of(release: Release) -> IndexSpec:
    """The index that a release searches."""
    index = release.parts["index"]
    return IndexSpec(
        id=str(index["fingerprint"])[:12],
        shards=index["shards"],
        dim=index["dim"],
        made_by=index["made_by"],
        chunking=Chunking(**index["chunking"]),
        embedder=release.parts["embedder"]["artifact"],
    )


def retrieval_of(release: Release) -> Retrieval:
    """The ranking settings of a release."""
    part = release.parts["retrieval"]
    return Retrieval(**{name: value for name, value in part.items() if name != "fingerprint"})


def answering_of(release: Release) -> Answering:
    """How a release makes answers from chunks; recorded with its prompt."""
    return Answering(**release.parts["prompt"]["settings"])


def generator_of(release: Release, here: GeneratorSettings) -> GeneratorSettings:
    """The generator of a release. Threads, and the name of an endpoint's key, are this machine's own (`here`)."""
    part = release.parts["generator"]
    released = ("kind", "model", "endpoint_url", "max_tokens", "context_tokens")
    return here.model_copy(update={name: part[name] for name in released if name in part})


def _with_fingerprint(part: Mapping[str, Any]) -> Part:
    return {**part, "fingerprint": fingerprint(dict(part))}
