"""The actor that cuts and embeds documents as they are written, once for all shards and copies that ask.

On GPU nodes it embeds queries as well (`embedder.placement = "actor"`); on a CPU box the gateway replicas do that.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import ray

from kaizen.config import Settings
from kaizen.errors import ConfigError
from kaizen.indexing.prepare import prepare
from kaizen.indexing.unsearchable import tell_refused
from kaizen.models.embedder import Embedder as Model
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.packed_models import PackedModels
from kaizen.records import Document, Release
from kaizen.release import index_of
from kaizen.text.chunk import Chunker
from kaizen.text.tokens import TokenCounter
from kaizen.workspace import open_workspace

# Copies of a shard ask for the same documents within moments of each other.
REMEMBERED_DOCUMENTS = 512
# Who searches goes first: while another index is built, for minutes, their p99 is 74 ms instead of 90.
NICENESS = 10
# Copies of shards that wait with documents must not hold the threads that embed queries.
DOCUMENTS = "documents"


class Embedder:
    """One embedder with its chunking, as a release has them."""

    def __init__(self, settings: Settings, release: Release) -> None:
        workspace = open_workspace(settings)
        index = index_of(release)
        spec = EmbedderSpec.from_record(release.parts["embedder"])
        artifact = workspace.store.fetch_directory(index.embedder)
        self._ledger = workspace.ledger
        counter = TokenCounter.from_directory(artifact, prompt=spec.document_prompt, lowercase=spec.lowercase)
        self._chunker = Chunker(counter, index.chunking)
        on_gpu = settings.embedder.placement == "actor"
        if not on_gpu:
            os.nice(NICENESS)
        find = workspace.model_path
        # On a CPU box nobody asks it for a query: a second model would lie there for nothing.
        self._queries: Model | None = (
            open_embedder(spec, settings.embedder, "query", onnx_directory=artifact, find=find) if on_gpu else None
        )
        self._documents: Model = (
            open_embedder(spec, settings.embedder, "bulk", find=find)
            if on_gpu
            else OnnxEmbedder(
                spec,
                artifact,
                threads=1,
                prompt=spec.document_prompt,
                packed=PackedModels().of(artifact),
            )
        )
        self._lock = threading.Lock()  # the chunker is not thread-safe, and two batches side by side gain nothing
        self._remembered: OrderedDict[tuple[str, str, str], pa.Table] = OrderedDict()

    @ray.method(concurrency_group=DOCUMENTS)
    def prepare(self, documents: Sequence[Document]) -> pa.Table:
        """Chunk rows with `vector` of `documents` in order. One that cannot be embedded is quarantined and left out."""
        with self._lock:
            keys = [(d.tenant, d.id, d.content_sha256()) for d in documents]
            fresh = [d for d, key in zip(documents, keys, strict=True) if key not in self._remembered]
            made = self._make(fresh)
            tables = [self._remembered[key] if key in self._remembered else made[key] for key in keys]
            self._remember(made)
        return pa.concat_tables(tables)

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, normalised; raises BadModel, and ConfigError where queries are embedded elsewhere."""
        if self._queries is None:
            raise ConfigError("This embedder takes documents.", advice="Set embedder.placement to actor.")
        return self._queries.embed(texts)

    @ray.method(concurrency_group="control")
    def ping(self) -> tuple[str, str, int]:
        """State, node and process."""
        return "serving", ray.get_runtime_context().get_node_id(), os.getpid()

    def _make(self, documents: Sequence[Document]) -> dict[tuple[str, str, str], pa.Table]:
        if not documents:
            return {}
        done = prepare(documents, self._chunker, self._documents)
        tell_refused(self._ledger, documents, done.refused)
        names = done.table.column("document_id").to_pylist()
        tenants = done.table.column("tenant").to_pylist()
        made = {}
        for document in documents:
            own = [t == document.tenant and n == document.id for t, n in zip(tenants, names, strict=True)]
            made[document.tenant, document.id, document.content_sha256()] = done.table.filter(pa.array(own, pa.bool_()))
        return made

    def _remember(self, made: dict[tuple[str, str, str], pa.Table]) -> None:
        self._remembered.update(made)
        while len(self._remembered) > REMEMBERED_DOCUMENTS:
            self._remembered.popitem(last=False)
