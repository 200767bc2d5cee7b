"""A release as one gateway replica serves it: everything a request needs, made whole before it is switched to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ray
from ray.exceptions import RayError

from actors.fan_out import FanOut
from actors.generator_client import GeneratorClient
from actors.names import embedder_name
from kaizen.config import Answering, GeneratorSettings, Retrieval, Settings
from kaizen.errors import Unavailable
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.records import Release
from kaizen.release import IndexSpec, answering_of, generator_of, index_of, retrieval_of
from kaizen.workspace import Workspace


class LocalQueries:
    """Embeds queries in this process: on a CPU box a hop would cost more than the embedding."""

    def __init__(self, settings: Settings, spec: EmbedderSpec, workspace: Workspace, artifact: str) -> None:
        directory = workspace.store.fetch_directory(artifact)
        self._model = open_embedder(spec, settings.embedder, "query", onnx_directory=directory)

    def embed_query(self, text: str) -> np.ndarray:
        """(dim,) float32, normalised; raises BadModel."""
        vector: np.ndarray = self._model.embed([text])[0]
        return vector


class RemoteQueries:
    """Embeds queries in the release's embedder actor, which has the GPU."""

    def __init__(self, name: str, namespace: str) -> None:
        self._name = name
        self._namespace = namespace

    def embed_query(self, text: str) -> np.ndarray:
        """(dim,) float32, normalised; raises BadModel or Unavailable."""
        try:
            actor = ray.get_actor(self._name, namespace=self._namespace)
            vector: np.ndarray = ray.get(actor.embed_query.remote(text))
        except (RayError, ValueError) as error:
            raise Unavailable("The embedder does not answer.", advice="Try again in a moment.") from error
        return vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One release, ready. Immutable: a request holds one from start to end, whatever the rollout does meanwhile."""

    release: Release
    index: IndexSpec
    retrieval: Retrieval
    answering: Answering
    generator_settings: GeneratorSettings
    fan_out: FanOut
    queries: LocalQueries | RemoteQueries
    generator: GeneratorClient | None


def open_served(settings: Settings, workspace: Workspace, release_id: str) -> Served:
    """Make a release ready to serve. Blocking: models are read. KaizenError when a part is missing or damaged."""
    release = workspace.ledger.releases.get(release_id)
    index = index_of(release)
    namespace = settings.cluster.namespace
    spec = EmbedderSpec.from_record(release.parts["embedder"])
    local = settings.embedder.placement == "replica"
    queries: LocalQueries | RemoteQueries = (
        LocalQueries(settings, spec, workspace, index.embedder)
        if local
        else RemoteQueries(embedder_name(index.embedder), namespace)
    )
    generator = release.parts["generator"]
    return Served(
        release=release,
        index=index,
        retrieval=retrieval_of(release),
        answering=answering_of(release),
        generator_settings=generator_of(release, settings.generator),
        fan_out=FanOut(index.id, index.shards, settings.fleet.replicas, namespace),
        queries=queries,
        generator=None if generator["kind"] == "extractive" else GeneratorClient(generator["fingerprint"], namespace),
    )
