"""Trials of a release's ranking settings: candidates are found once, and each trial ranks them anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kaizen.config import Retrieval
from kaizen.evaluation.ranking import ndcg
from kaizen.judging.query_sets import Asked
from kaizen.offline import OfflineIndex, OfflineQuery, QueryEmbedder, offline_queries
from kaizen.retrieval.lexical import bm25
from kaizen.retrieval.query import ShardAnswer
from kaizen.retrieval.ranker import Ranker
from kaizen.retrieval.ranking import rank
from kaizen.retrieval.segment import document_key
from tune.spaces import Drawn, retrieval_settings
from tune.study import Report

CUT = 10  # nDCG@10


@dataclass(frozen=True, slots=True)
class JudgedPool:
    """A query's candidates, without their texts, and its grades by the keys of documents (as text)."""

    answers: dict[int, ShardAnswer]
    grades: dict[str, int]

    def value(self, settings: Retrieval, ranker: Ranker | None) -> float:
        """Return nDCG@10 of the candidates under these settings."""
        answers = {shard: narrowed(answer, settings) for shard, answer in self.answers.items()}
        ranked = rank(answers, mode="hybrid", unit="document", k=CUT, settings=settings, ranker=ranker)
        return ndcg([str(answers[item.shard].candidates.key[item.number]) for item in ranked], self.grades, CUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalStudy:
    """See Study. `ranker` is the release's own, for trials that have it on."""

    present: Retrieval
    ranker: Ranker | None
    pools: Mapping[str, JudgedPool]
    stepwise: bool = False

    def run(self, settings: Mapping[str, Any], report: Callable[[Report], None]) -> None:
        """See Study."""
        wanted = retrieval_settings(self.present, dict(settings))
        ranker = self.ranker if settings.get("ranker") else None
        report(Report(share=1.0, values={name: pool.value(wanted, ranker) for name, pool in self.pools.items()}))


def judged_pools(
    index: OfflineIndex, embed: QueryEmbedder, asked: Mapping[str, Asked], present: Retrieval, drawn: Sequence[Drawn]
) -> dict[str, JudgedPool]:
    """Search once for each query, as deep as the deepest trial looks."""
    deepest = present.model_copy(update={"depth": max(settings["depth"] for settings in drawn)})
    queries = embedded(embed, asked)
    return {
        name: JudgedPool(
            {shard: replace(answer, texts={}) for shard, answer in index.pool(queries[name], deepest).answers.items()},
            {str(document_key(one.tenant, document)): grade for document, grade in one.grades.items()},
        )
        for name, one in asked.items()
    }


def rankings(
    index: OfflineIndex, embed: QueryEmbedder, asked: Mapping[str, Asked], settings: Retrieval, ranker: Ranker | None
) -> dict[str, list[str]]:
    """Query -> its best 100 documents, from a search of its own: what the product would answer."""
    queries = embedded(embed, asked)
    return {name: index.pool(queries[name], settings).documents(settings, ranker) for name in asked}


def embedded(embed: QueryEmbedder, asked: Mapping[str, Asked]) -> dict[str, OfflineQuery]:
    """Name -> the query with its vector."""
    found = offline_queries([(one.text, one.tenant, one.groups) for one in asked.values()], embed)
    return dict(zip(asked, found, strict=True))


def narrowed(answer: ShardAnswer, settings: Retrieval) -> ShardAnswer:
    """What the shard would have answered with this depth, BM25 being counted as `settings` say.

    Its words' candidates were found with the present k1 and b. One that only others would have brought in is missing:
    at the deepest end of a few hundred, so it hardly ever is among the first ten. The test half is searched anew.
    """
    found = answer.candidates
    lexical = bm25(found.frequencies, found.lengths, answer.statistics, settings.bm25_k1, settings.bm25_b)
    keep = np.zeros(len(found), bool)
    for scores in (found.cosine, lexical):
        keep[np.argsort(-scores, kind="stable")[: settings.depth]] = True
    return replace(answer, candidates=found.kept(keep))
