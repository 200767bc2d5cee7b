"""The actor that cuts and embeds documents as they are written, once for all shards and copies that ask.

On GPU nodes it embeds queries as well (`embedder.placement = "actor"`); on a CPU box the gateway replicas do that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import ray

from actors.background import ends_with_its_writer
from kaizen.config import Settings
from kaizen.errors import ConfigError
from kaizen.indexing.prepare import Prepared, prepare
from kaizen.indexing.remembered import Remembered
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
        self._remembered = Remembered(self._prepare, partial(tell_refused, workspace.ledger))

    @ray.method(concurrency_group=DOCUMENTS)
    @ends_with_its_writer
    def prepare(self, documents: Sequence[Document]) -> pa.Table:
        """Chunk rows with `vector` of `documents` in order. One that cannot be embedded is quarantined and left out."""
        with self._lock:
            return self._remembered.rows(documents)

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, normalised; raises BadModel, and ConfigError where queries are embedded elsewhere."""
        if self._queries is None:
            raise ConfigError("This embedder takes documents.", advice="Set embedder.placement to actor.")
        return self._queries.embed(texts)

    @ray.method(concurrency_group="control")
    def ping(self) -> tuple[str, str, int]:
        """State, node and process."""
        return "serving", ray.get_runtime_context().get_node_id(), os.getpid()

    def _prepare(self, documents: Sequence[Document]) -> Prepared:
        return prepare(documents, self._chunker, self._documents)
