"""What a release is made of, and the names that follow from it. Parts are plain JSON objects, as they are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kaizen.config import Answering, Chunking, GeneratorSettings, Retrieval, Settings
from kaizen.ids import fingerprint
from kaizen.indexing.prepare import made_by
from kaizen.models.location import OBJECT
from kaizen.records import Release
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.ranker import Ranker, open_ranker
from kaizen.storage.object_store import ObjectStore

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


def with_parts(release: Release, **changed: Part) -> dict[str, Part]:
    """The parts of a release learnt from `release`: the changed ones in place of its own, fingerprints renewed.

    Another embedder or chunking means another index, which its own fingerprint then names; a part given as an empty
    object is left out.
    """
    parts = {name: dict(part) for name, part in release.parts.items()} | {n: dict(p) for n, p in changed.items()}
    embedder, index = parts["embedder"], parts["index"]
    index["dim"] = embedder["dim"]
    index["made_by"] = made_by(embedder["fingerprint"], index["chunking"])
    for name in ("index", "retrieval", "ranker"):
        if parts.get(name):
            parts[name] = _with_fingerprint({k: v for k, v in parts[name].items() if k != "fingerprint"})
    return {name: part for name, part in parts.items() if part}


def query_encoder_of(release: Release) -> Part:
    """The encoder of queries: one of their own where it was learnt, else the embedder. EmbedderSpec and `artifact`."""
    return dict(release.parts.get("query_encoder", release.parts["embedder"]))


def ranker_of(release: Release, store: ObjectStore) -> Ranker | None:
    """Open the ranker of a release; None when it has none. Raises BadModel, Corrupt, NotFound."""
    part = release.parts.get("ranker")
    if part is None:
        return None
    return open_ranker(part, store.fetch_directory(part["artifact"]) if "artifact" in part else None)


def models_of(release: Release) -> frozenset[str]:
    """Names in the object store of the models that a release is made of, wherever in its parts they are named."""
    found = (text.removeprefix(OBJECT) for text in _texts(release.parts))
    return frozenset("/".join(name.split("/")[:2]) for name in found if name.startswith("models/"))


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def index_id(release: Release) -> str:
    """What names the index that a release searches; releases of the same embedder and chunking share one."""
    return str(release.parts["index"]["fingerprint"])[:12]


def index_of(release: Release) -> IndexSpec:
    """The index that a release searches."""
    index = release.parts["index"]
    return IndexSpec(
        id=index_id(release),
        shards=index["shards"],
        dim=index["dim"],
        made_by=index["made_by"],
        chunking=Chunking(**index["chunking"]),
        embedder=release.parts["embedder"]["artifact"],
    )


def cut_alike(release: Release, releases: Iterable[Release]) -> frozenset[str]:
    """Ids of those releases whose chunks have the same names and texts as the chunks of `release`.

    Learning leaves an embedder's tokenizer as it is: what was learnt cuts as the configured one that it began as.
    """
    known = {one.id: one for one in releases}
    wanted = _cutting(release, known)
    return frozenset(name for name, one in known.items() if _cutting(one, known) == wanted)


def _cutting(release: Release, known: Mapping[str, Release]) -> str:
    first = release
    while first.parent is not None:
        first = known[first.parent]
    return made_by(first.parts["embedder"]["fingerprint"], release.parts["index"]["chunking"])


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
