"""From the shards' candidates to one ranked list: every candidate is scored under the statistics of all shards."""

from __future__ import annotations

import functools
import operator
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kaizen.config import Retrieval
from kaizen.retrieval.features import features
from kaizen.retrieval.fusion import Fused, Mode
from kaizen.retrieval.lexical import TermStatistics
from kaizen.retrieval.query import ShardAnswer, ShardQuery, in_order, score
from kaizen.retrieval.ranked import FinalAnswer, Ranked
from kaizen.retrieval.ranker import Ranker

Unit = Literal["chunk", "document"]
# Candidates of each signal for every result that is wanted: what stands low in one may stand high in both together, and
# a document has several chunks.
CANDIDATES: Mapping[Unit, int] = {"chunk": 2, "document": 3}
# Where a few long documents take all places, the shards are asked once more, for so many times as many candidates.
DEEPER = 8
# Candidates times terms of the query that a shard is asked for then at most: with two bytes for each, 8 MB travel.
MOST_COUNTS = 1 << 22
# A shard's own order need not be the final one: so many more of its best bring their texts along.
SPARE_TEXTS = 8
# A float32 written out in full is 20 characters, and every impression holds dozens of them.
FEATURE_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """All candidates of all shards: shard and number (n,) say which one row i is; key, ordinal and scores (n,)."""

    shard: np.ndarray
    number: np.ndarray
    key: np.ndarray
    ordinal: np.ndarray
    scores: np.ndarray

    def order(self) -> np.ndarray:
        """Rows, best first."""
        return in_order(self.scores, self.key, self.ordinal)


def rank(
    answers: Mapping[int, ShardAnswer],
    *,
    mode: Mode,
    unit: Unit,
    k: int,
    settings: Retrieval,
    ranker: Ranker | None = None,
) -> list[Ranked]:
    """The best k chunks of all shards, best first; with unit `document` only the best chunk of each document.

    A ranker orders the best `ranker.depth` of a hybrid ranking anew; in the other modes the caller asked for one
    signal and gets it. Equal scores are ordered by document and ordinal, so the order is the same however documents
    are split.
    """
    present = {shard: answer for shard, answer in answers.items() if len(answer.candidates)}
    if not present:
        return []
    statistics = functools.reduce(operator.add, (answer.statistics for answer in answers.values()))
    scored = {shard: score(answer.candidates, statistics, mode, settings) for shard, answer in present.items()}
    pool = _pool(present, scored)
    if ranker is not None and mode == "hybrid":
        _rescore(pool, present, scored, statistics, ranker)
    order = pool.order()
    if unit == "document":
        order = _first_of_each(order, pool.key)
    rows = order[:k]
    told = np.round(_features(pool, rows, present, scored, statistics).astype(np.float64), FEATURE_DIGITS)
    return [
        _ranked(present[shard], shard, number, float(pool.scores[row]), *scored[shard], mode, tuple(values))
        for row, shard, number, values in zip(
            rows, pool.shard[rows].tolist(), pool.number[rows].tolist(), told.tolist(), strict=True
        )
    ]


def depth_needed(k: int, *, unit: Unit, settings: Retrieval) -> int:
    """How many candidates of each signal a shard should give for the best `k` of all."""
    return max(settings.depth, k * CANDIDATES[unit])


def depth_after(depth: int, *, words: int) -> int:
    """How many candidates to ask for where `depth` were of too few documents; not above `depth` where it must do."""
    return min(depth * DEEPER, MOST_COUNTS // max(1, words))


def texts_needed(k: int) -> int:
    """Of how many of its best a shard should send the texts, so that few have to be fetched for the best `k` of all."""
    return k + SPARE_TEXTS


def final_places(k: int, *, unit: Unit, shards: int, reranked: bool) -> int:
    """How many places a shard should rank by itself: all `k` where it is the whole index and nothing changes its order
    afterwards (a ranker, or that of each document only the best chunk counts); else none."""
    return k if unit == "chunk" and shards == 1 and not reranked else 0


def finished(
    answer: ShardAnswer, query: ShardQuery, texts: Callable[[Sequence[tuple[str, int]]], list[dict[str, Any]]]
) -> ShardAnswer | FinalAnswer:
    """The answer as it travels: ranked where the query is final, with `texts` by (segment, row) of what is shown.

    Ranked there, a result is ten rows; its candidates are arrays of a hundred, which the gateway would score once more.
    """
    if not query.final:
        return answer
    ranked = rank({0: answer}, mode=query.mode, unit="chunk", k=query.final, settings=query.settings)
    rows = texts([(item.segment, item.row) for item in ranked])
    told = tuple(item._replace(text=row) for item, row in zip(ranked, rows, strict=True))
    return FinalAnswer(seq=answer.seq, ranked=told, index=answer.index)


def unpickled(answer: bytes) -> ShardAnswer | FinalAnswer:
    """What `pickled` of either made; only for bytes of our own shards."""
    found: ShardAnswer | FinalAnswer = pickle.loads(answer)  # noqa: S301 (as Ray would: an actor of the same cluster)
    return found


def is_all(answers: Mapping[int, ShardAnswer], depth: int) -> bool:
    """Whether the shards, asked for their best `depth` by each signal, have told of every chunk that matches."""
    return all(len(answer.candidates) < depth for answer in answers.values())


def documents_of(answers: Mapping[int, ShardAnswer]) -> int:
    """Of how many documents the candidates are."""
    return len(np.unique(np.concatenate([np.zeros(0, np.uint64), *(a.candidates.key for a in answers.values())])))


Scored = Mapping[int, tuple[Fused, np.ndarray]]


def _pool(present: Mapping[int, ShardAnswer], scored: Scored) -> _Pool:
    answers = present.items()
    return _Pool(
        shard=np.concatenate([np.full(len(a.candidates), s) for s, a in answers]),
        number=np.concatenate([np.arange(len(a.candidates)) for _, a in answers]),
        key=np.concatenate([a.candidates.key for _, a in answers]),
        ordinal=np.concatenate([a.candidates.ordinal for _, a in answers]),
        scores=np.concatenate([fused.scores for fused, _ in scored.values()]),
    )


def _rescore(
    pool: _Pool, present: Mapping[int, ShardAnswer], scored: Scored, statistics: TermStatistics, ranker: Ranker
) -> None:
    """Give the ranker's scores to the best rows; the others keep their distances and stand below."""
    order = pool.order()
    best, rest = order[: ranker.depth], order[ranker.depth :]
    found = ranker.scores(_features(pool, best, present, scored, statistics))
    if len(rest):
        pool.scores[rest] += found.min() - pool.scores[rest[0]] - 1e-9
    pool.scores[best] = found


def _features(
    pool: _Pool, rows: np.ndarray, present: Mapping[int, ShardAnswer], scored: Scored, statistics: TermStatistics
) -> np.ndarray:
    """(len(rows), len(FEATURES)) float32."""
    found: np.ndarray | None = None
    for shard, answer in present.items():
        mine = np.flatnonzero(pool.shard[rows] == shard)
        numbers = pool.number[rows[mine]]
        table = features(answer.candidates.kept(numbers), scored[shard][1][numbers], statistics)
        if found is None:
            found = np.empty((len(rows), table.shape[1]), np.float32)
        found[mine] = table
    return found if found is not None else np.empty((0, 0), np.float32)


def _first_of_each(order: np.ndarray, key: np.ndarray) -> np.ndarray:
    _, first = np.unique(key[order], return_index=True)
    return order[np.sort(first)]


def _ranked(
    answer: ShardAnswer,
    shard: int,
    number: int,
    final: float,
    fused: Fused,
    bm25: np.ndarray,
    mode: Mode,
    told: tuple[float, ...],
) -> Ranked:
    found = answer.candidates
    return Ranked(
        shard=shard,
        number=number,
        segment=found.segments[found.segment[number]],
        row=int(found.row[number]),
        score=final,
        dense=float(fused.dense[number]),
        lexical=float(fused.lexical[number]),
        cosine=None if mode == "lexical" else float(found.cosine[number]),
        bm25=None if mode == "dense" else float(bm25[number]),
        frequencies=tuple(found.frequencies[number].tolist()),
        features=told,
        text=answer.texts.get(number),
    )
