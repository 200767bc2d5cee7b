"""Search without the service: a release's sealed index, opened in this process and searched by the product's own code.

For judging, learning and sweeps, which ask thousands of queries and must not take time from users. What is not
sealed yet (the last `index.seal_seconds` of changes) is not seen; both sides of a comparison miss the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from kaizen.config import Retrieval
from kaizen.errors import Unavailable
from kaizen.ids import chunk_id
from kaizen.indexing.generation import GenerationStore
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.packed_models import PackedModels
from kaizen.records import Principal, Release
from kaizen.release import index_of, query_encoder_of, retrieval_of
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.chunk_table import SCHEMA
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardAnswer, ShardQuery, search
from kaizen.retrieval.ranked import Ranked
from kaizen.retrieval.ranker import Ranker
from kaizen.retrieval.ranking import Unit, depth_after, depth_needed, documents_of, is_all, rank
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.view import View
from kaizen.text.normalise import normalise
from kaizen.workspace import Workspace

SHOWN_DOCUMENTS = 10  # that people see, and that nDCG@10 is of


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineQuery:
    """A query as somebody with these groups of this tenant would ask it. `vector`: (dim,) float32, normalised."""

    text: str
    vector: np.ndarray
    tenant: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """All candidates of one query, from which any retrieval settings and any ranker make a ranking."""

    answers: dict[int, ShardAnswer]
    segments: dict[str, Segment]

    def ranked(
        self, settings: Retrieval, ranker: Ranker | None, *, k: int, unit: Unit = "document", mode: Mode = "hybrid"
    ) -> list[Ranked]:
        """The best k as the gateway would rank them."""
        return rank(self.answers, mode=mode, unit=unit, k=k, settings=settings, ranker=ranker)

    def documents(
        self, settings: Retrieval, ranker: Ranker | None, *, k: int = 100, mode: Mode = "hybrid"
    ) -> list[str]:
        """Ids of the best k documents, best first."""
        ranked = self.ranked(settings, ranker, k=k, mode=mode)
        return [name for name, _ in self.names(ranked)]

    def chunks(self, settings: Retrieval, ranker: Ranker | None, *, k: int, mode: Mode = "hybrid") -> list[str]:
        """Ids of the best k chunks, best first."""
        ranked = self.ranked(settings, ranker, k=k, unit="chunk", mode=mode)
        return [chunk_id(*place) for place in self.names(ranked)]

    def names(self, ranked: Sequence[Ranked]) -> list[tuple[str, int]]:
        """Document id and ordinal of each."""
        found: list[tuple[str, int] | None] = [None] * len(ranked)
        for name in {item.segment for item in ranked}:
            places = [place for place, item in enumerate(ranked) if item.segment == name]
            rows = self.segments[name].table.select(["document_id", "ordinal"]).take([ranked[p].row for p in places])
            pairs = zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True)
            for place, pair in zip(places, pairs, strict=True):
                found[place] = pair
        return [pair for pair in found if pair is not None]


class OfflineIndex:
    """The shards of one index, as their newest sealed generations are.

    Attributes:
        views: by shard number; one that cannot be loaded is not in it.
        coverage: share of the shards that could be loaded.
        trouble: what had to be refused, in words.
    """

    def __init__(self, views: dict[int, View], shards: int, trouble: tuple[str, ...]) -> None:
        self.views = views
        self.coverage = len(views) / shards
        self.trouble = trouble
        self._analyser = Analyser()
        self._segments = {name: segment for view in views.values() for name, segment in view.by_name().items()}

    @classmethod
    def open(cls, workspace: Workspace, release: Release) -> OfflineIndex:
        """Map the index of `release`. A shard that was never sealed, or does not verify, is missing: see `coverage`."""
        spec = index_of(release)
        views: dict[int, View] = {}
        trouble: list[str] = []
        for shard in range(spec.shards):
            documents = workspace.ledger.documents
            loaded = GenerationStore(workspace.store, spec.shard_prefix(shard), documents).load()
            trouble += [f"shard {shard}: {text}" for text in loaded.refused]
            if loaded.view.seq:
                views[shard] = loaded.view
        return cls(views, spec.shards, tuple(trouble))

    @classmethod
    def open_whole(cls, workspace: Workspace, release: Release) -> OfflineIndex:
        """As `open`, for what must see every shard. Raises Unavailable."""
        index = cls.open(workspace, release)
        if index.coverage < 1:
            raise Unavailable("A shard of the index is not sealed yet.", advice="Wait `index.seal_seconds`, try again.")
        return index

    @property
    def seq(self) -> int:
        """The ledger's `seq` that every shard has reached; 0 when none is there."""
        return min((view.seq for view in self.views.values()), default=0)

    def pool(self, query: OfflineQuery, settings: Retrieval, mode: Mode = "hybrid") -> Pool:
        """The candidates of a query, as a gateway gets them for the best ten documents: more where long ones take all
        places."""
        asked = ShardQuery(
            mode=mode,
            vector=query.vector,
            terms=tuple(self._analyser(query.text)),
            principal=Principal(key_id="offline", tenant=query.tenant, groups=query.groups, scopes=("search",)),
            condition=None,
            types={},
            settings=settings,
            depth=depth_needed(SHOWN_DOCUMENTS, unit="document", settings=settings),
            texts=0,
        )
        while True:
            answers = {shard: search(view, asked) for shard, view in self.views.items()}
            deeper = depth_after(asked.depth, words=len(asked.words))
            enough = documents_of(answers) >= SHOWN_DOCUMENTS or is_all(answers, asked.depth)
            if enough or deeper <= asked.depth:
                return Pool(answers, self._segments)
            asked = replace(asked, depth=deeper)

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """These columns of all living chunks, shard by shard, in the order of `vectors`."""
        tables = [
            live.segment.table.select(list(columns)).filter(pa.array(live.alive))
            for view in self.views.values()
            for live in view.segments
        ]
        return pa.concat_tables([SCHEMA.empty_table().select(list(columns)), *tables])

    def vectors(self) -> np.ndarray:
        """(living chunks, dim) float32; (0, 0) of an index without segments, which knows no dimension."""
        parts = [
            np.asarray(live.segment.vectors.vectors[live.alive])
            for view in self.views.values()
            for live in view.segments
        ]
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


QueryEmbedder = Callable[[Sequence[str]], np.ndarray]


def open_query_embedder(workspace: Workspace, release: Release) -> QueryEmbedder:
    """What turns queries into vectors under a release, as a gateway does: texts -> (n, dim).

    Raises BadModel, Corrupt, NotFound.
    """
    part = query_encoder_of(release)
    spec = EmbedderSpec.from_record(part)
    directory = workspace.store.fetch_directory(part["artifact"])
    return OnnxEmbedder(spec, directory, threads=1, packed=PackedModels().of(directory)).embed


def offline_queries(
    texts: Sequence[tuple[str, str, tuple[str, ...]]], embed: QueryEmbedder, *, batch: int = 16
) -> list[OfflineQuery]:
    """Embed (text, tenant, groups) of each query, read as a gateway does; texts of like length go together."""
    texts = [(normalise(text) or text, tenant, groups) for text, tenant, groups in texts]
    vectors: dict[int, np.ndarray] = {}
    order = sorted(range(len(texts)), key=lambda number: len(texts[number][0]))
    for start in range(0, len(order), batch):
        numbers = order[start : start + batch]
        vectors.update(zip(numbers, embed([texts[number][0] for number in numbers]), strict=True))
    return [
        OfflineQuery(text=text, vector=vectors[number], tenant=tenant, groups=groups)
        for number, (text, tenant, groups) in enumerate(texts)
    ]


def offline_rankings(
    index: OfflineIndex, release: Release, ranker: Ranker | None, queries: Sequence[OfflineQuery], *, k: int = 100
) -> list[list[str]]:
    """The best k documents of each query under a release."""
    settings = retrieval_of(release)
    return [index.pool(query, settings).documents(settings, ranker, k=k) for query in queries]
