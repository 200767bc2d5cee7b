"""One side of a comparison: a release opened for judging, and what it finds for the queries that it is judged on."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kaizen.answering.source import Source
from kaizen.config import Retrieval
from kaizen.evaluation.paired import compare
from kaizen.evaluation.ranking import measure
from kaizen.evaluation.slices import Slices, compare_slices
from kaizen.evaluation.verdict import PRIMARY, Compared
from kaizen.ids import chunk_id
from kaizen.judging.query_sets import Asked
from kaizen.offline import OfflineIndex, QueryEmbedder, offline_queries, open_query_embedder
from kaizen.records import Release
from kaizen.release import index_of, ranker_of, retrieval_of
from kaizen.retrieval.ranker import Ranker
from kaizen.workspace import Workspace

DEPTH = 100  # of recall@100
_TIMED = 40  # queries whose time is taken, after a few to warm up
_WARM_UP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A release with everything that ranks, in this process."""

    release: Release
    index: OfflineIndex
    embed: QueryEmbedder
    ranker: Ranker | None
    settings: Retrieval

    @classmethod
    def open(cls, workspace: Workspace, release: Release, beside: Side | None = None) -> Side:
        """Open a release; `beside` lends its index when both search the same."""
        shared = beside is not None and index_of(release).id == index_of(beside.release).id
        return cls(
            release=release,
            index=beside.index if beside is not None and shared else OfflineIndex.open(workspace, release),
            embed=open_query_embedder(workspace, release),
            ranker=ranker_of(release, workspace.store),
            settings=retrieval_of(release),
        )

    def rankings(self, asked: Mapping[str, Asked]) -> dict[str, list[str]]:
        """Query -> documents, best first, as somebody of the query's groups would find them."""
        queries = offline_queries([(one.text, one.tenant, one.groups) for one in asked.values()], self.embed)
        pools = (self.index.pool(query, self.settings) for query in queries)
        found = (pool.documents(self.settings, self.ranker, k=DEPTH) for pool in pools)
        return dict(zip(asked, found, strict=True))

    def milliseconds(self, one: Asked) -> float:
        """How long embedding and ranking a query takes."""
        began = time.perf_counter()
        (query,) = offline_queries([(one.text, one.tenant, one.groups)], self.embed)
        self.index.pool(query, self.settings).documents(self.settings, self.ranker, k=10)
        return (time.perf_counter() - began) * 1000

    def sources(self, one: Asked, k: int) -> list[Source]:
        """The best k chunks of a query, as an answer would rest on them."""
        (query,) = offline_queries([(one.text, one.tenant, one.groups)], self.embed)
        pool = self.index.pool(query, self.settings)
        found = []
        for item in pool.ranked(self.settings, self.ranker, k=k, unit="chunk"):
            (row,) = pool.segments[item.segment].show([item.row])
            found.append(
                Source(
                    chunk_id=chunk_id(row["document_id"], row["ordinal"]),
                    document_id=row["document_id"],
                    title=row["title"],
                    text=row["text"],
                    score=item.score,
                    cosine=item.cosine,
                )
            )
        return found


def compare_sides(stable: Side, candidate: Side, asked: Mapping[str, Asked], slices: Slices) -> Compared:
    """Measure both on the same queries (at least one)."""
    grades = {name: one.grades for name, one in asked.items()}
    before, after = (measure(side.rankings(asked), grades) for side in (stable, candidate))
    differences = {name: after[PRIMARY][name] - before[PRIMARY][name] for name in asked}
    return Compared(
        metrics={metric: compare(before[metric], after[metric]) for metric in before},
        slices=compare_slices(differences, slices),
    )


def compare_speed(stable: Side, candidate: Side, asked: Collection[Asked]) -> tuple[float, float]:
    """Return the p50 of a query in milliseconds, of both; they take turns, so that a busy machine slows both."""
    sample: Sequence[Asked] = (list(asked) * (_WARM_UP + _TIMED))[: _WARM_UP + _TIMED]
    spent = [(stable.milliseconds(one), candidate.milliseconds(one)) for one in sample][_WARM_UP:]
    before, after = np.median(np.array(spent), axis=0)
    return float(before), float(after)


def as_everybody(asked: Mapping[str, Asked], index: OfflineIndex) -> dict[str, Asked]:
    """Trusted judgements are about all documents of a tenant: ask with all groups that its documents name."""
    rows = index.rows(["tenant", "groups"])
    groups: dict[str, set[str]] = {}
    for tenant, own in zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True):
        if own:
            groups.setdefault(tenant, set()).update(own)
    return {name: replace(one, groups=tuple(sorted(groups.get(one.tenant, ())))) for name, one in asked.items()}
