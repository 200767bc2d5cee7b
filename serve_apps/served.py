"""A release as one gateway replica serves it: everything a request needs, made whole before it is switched to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import ray
from ray.exceptions import RayError

from actors.fan_out import FanOut
from actors.generator_client import GeneratorClient
from actors.names import embedder_name
from kaizen.answering.answer import Composer
from kaizen.answering.prompt import VERSION
from kaizen.config import Answering, Retrieval, Section, Settings
from kaizen.errors import BadModel, Unavailable
from kaizen.held import Held
from kaizen.ids import fingerprint
from kaizen.models.embedder import Embedder, open_embedder
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.packed_models import PackedModels
from kaizen.records import Release
from kaizen.release import (
    IndexSpec,
    answering_of,
    generator_of,
    index_of,
    query_encoder_of,
    ranker_of,
    retrieval_of,
)
from kaizen.retrieval.features import FEATURES
from kaizen.retrieval.ranker import Ranker
from kaizen.workspace import Workspace

# Who waits for a vector gives up long before; the thread that asks must not hang for good.
EMBED_SECONDS = 30.0
SHORT = 12  # digits of a fingerprint that travel with a response
Fingerprints = Mapping[str, str]


class LocalQueries:
    """Embeds queries in this process: on a CPU box a hop would cost more than the embedding."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self.fingerprint = model.spec.fingerprint

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, normalised; raises BadModel."""
        return self._model.embed(texts)


class RemoteQueries:
    """Embeds queries in the embedder actor of the release's index, which has the GPU."""

    def __init__(self, index: IndexSpec, spec: EmbedderSpec, namespace: str) -> None:
        self._name = embedder_name(index.made_by)
        self._namespace = namespace
        self.fingerprint = spec.fingerprint  # what the actor's name stands for

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, normalised; raises BadModel or Unavailable."""
        try:
            actor = ray.get_actor(self._name, namespace=self._namespace)
            vectors: np.ndarray = ray.get(actor.embed_queries.remote(texts), timeout=EMBED_SECONDS)
        except BadModel:  # as the actor raised it, which Ray hands on as an error of both kinds
            raise
        except (RayError, ValueError) as error:
            raise Unavailable("The embedder does not answer.", advice="Try again in a moment.") from error
        return vectors

    def serving(self, seconds: float) -> bool:
        """Whether the actor is up; waits for its word at most so long."""
        try:
            actor = ray.get_actor(self._name, namespace=self._namespace)
            state: str = ray.get(actor.ping.remote(), timeout=seconds)[0]
        except (RayError, TimeoutError, ValueError):
            return False
        return state == "serving"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """One release, ready. Immutable: a request holds one from start to end, whatever the rollout does meanwhile.

    Attributes:
        opened: fingerprint of each part that works in this process, computed from what was opened.
        recorded: fingerprint of each part as the release's record has it; whatever a response used must be among them.
    """

    release: Release
    index: IndexSpec
    retrieval: Retrieval
    answering: Answering
    composer: Composer
    fan_out: FanOut
    queries: LocalQueries | RemoteQueries
    ranker: Ranker | None
    generator: GeneratorClient | None
    opened: Fingerprints
    recorded: Fingerprints

    def serving(self, seconds: float) -> bool:
        """Whether the models that work elsewhere are up; waits for the word of each at most so long."""
        remote = self.queries if isinstance(self.queries, RemoteQueries) else None
        return all(part.serving(seconds) for part in (remote, self.generator) if part is not None)

    def mixed(self, used: Fingerprints) -> list[str]:
        """Stages whose work was not this release's: there must never be one."""
        return [stage for stage, found in used.items() if self.recorded.get(stage) != found]


class Opener:
    """Makes releases ready to serve. What two of them have in common they share here too, while one of them is held."""

    def __init__(self, settings: Settings, workspace: Workspace) -> None:
        self._settings = settings
        self._workspace = workspace
        self._releases: dict[str, Release] = {}
        self._queries: Held[LocalQueries] = Held()
        self._fan_outs: Held[FanOut] = Held()  # writers ask for them while a model is read, which may take minutes

    def open(self, release_id: str) -> Served:
        """Blocking: models are read. KaizenError when a part is missing, damaged or gives nonsense."""
        release = self.release(release_id)
        retrieval, answering = retrieval_of(release), answering_of(release)
        generator, instructions = release.parts["generator"], str(release.parts["prompt"]["instructions"])
        queries, ranker = self._open_queries(release), ranker_of(release, self._workspace.store)
        _try_out(release, queries, ranker)
        return Served(
            release=release,
            index=index_of(release),
            retrieval=retrieval,
            answering=answering,
            composer=Composer(answering, generator_of(release, self._settings.generator), instructions),
            fan_out=self.fan_out(release),
            queries=queries,
            ranker=ranker,
            generator=None
            if generator["kind"] == "extractive"
            else GeneratorClient(generator["fingerprint"], self._settings.cluster.namespace),
            opened=_opened(release, queries.fingerprint, retrieval, answering, instructions),
            recorded=recorded(release),
        )

    def release(self, release_id: str) -> Release:
        """A release's record; it never changes, so it is read once. NotFound."""
        if release_id not in self._releases:
            self._releases[release_id] = self._workspace.ledger.releases.get(release_id)
        return self._releases[release_id]

    def fan_out(self, release: Release) -> FanOut:
        """The way to the shards of a release's index, whether or not they are up."""
        index = index_of(release)
        return self._fan_outs.get(
            index.id,
            lambda: FanOut(index.id, index.shards, self._settings.fleet.replicas, self._settings.cluster.namespace),
        )

    def _open_queries(self, release: Release) -> LocalQueries | RemoteQueries:
        """Queries are embedded here, unless the embedder has a GPU elsewhere and no query encoder was learnt."""
        part = query_encoder_of(release)
        spec = EmbedderSpec.from_record(part)
        if self._settings.embedder.placement == "actor" and "query_encoder" not in release.parts:
            return RemoteQueries(index_of(release), spec, self._settings.cluster.namespace)

        def read() -> LocalQueries:
            directory, here = self._workspace.store.fetch_directory(part["artifact"]), self._settings.embedder
            find, packed = self._workspace.model_path, PackedModels().of
            if here.placement == "actor":
                return LocalQueries(OnnxEmbedder(spec, directory, threads=here.query_threads, packed=packed(directory)))
            return LocalQueries(open_embedder(spec, here, "query", onnx_directory=directory, packed=packed, find=find))

        return self._queries.get(spec.fingerprint, read)


def _try_out(release: Release, queries: LocalQueries | RemoteQueries, ranker: Ranker | None) -> None:
    """Use each model once: so that nonsense is refused before it answers, and the first user does not wait longer."""
    vector, dim = queries.embed_queries(["first"])[0], index_of(release).dim
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise BadModel(f"The query encoder gives no vectors of {dim} numbers.", advice="Learn it again, or roll back.")
    if ranker is not None and not np.isfinite(ranker.scores(np.zeros((2, len(FEATURES)), np.float32))).all():
        raise BadModel("The ranker gives scores that are no numbers.", advice="Learn it again, or roll back.")


def recorded(release: Release) -> dict[str, str]:
    """Stage -> fingerprint, as the release's record has them."""
    found = {
        "query_encoder": query_encoder_of(release)["fingerprint"],
        "index": index_of(release).id,
        **{stage: release.parts[stage]["fingerprint"] for stage in ("retrieval", "prompt", "generator")},
    }
    if "ranker" in release.parts:
        found["ranker"] = release.parts["ranker"]["fingerprint"]
    return {stage: str(digits)[:SHORT] for stage, digits in found.items()}


def _opened(
    release: Release, queries: str, retrieval: Retrieval, answering: Answering, instructions: str
) -> dict[str, str]:
    """Stage -> fingerprint of what works in this process, computed again from the settings that it was opened with."""
    parts = release.parts
    prompt = {
        "version": VERSION,
        "instructions": instructions,
        "settings": _used(parts["prompt"]["settings"], answering),
    }
    found = {
        "query_encoder": queries,
        "retrieval": fingerprint(_used(_content(parts["retrieval"]), retrieval)),
        "prompt": fingerprint(prompt),
    }
    if "ranker" in parts:
        found["ranker"] = fingerprint(_content(parts["ranker"]))
    return {stage: digits[:SHORT] for stage, digits in found.items()}


def _used(recorded: Mapping[str, object], settings: Section) -> dict[str, object]:
    """The settings in the record's own notation: 1 and 1.0 are the same number with two fingerprints."""
    found = {name: getattr(settings, name) for name in recorded}
    return {name: recorded[name] if value == recorded[name] else value for name, value in found.items()}


def _content(part: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in part.items() if name != "fingerprint"}
