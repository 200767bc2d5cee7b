"""From the shards' candidates to one ranked list: every candidate is scored under the statistics of all shards."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kaizen.config import Retrieval
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.lexical import TermStatistics, bm25
from kaizen.retrieval.query import Candidates, ShardAnswer, score

Unit = Literal["chunk", "document"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One place in the ranking: candidate `number` of shard `shard`, with the parts of its score.

    `text` is its row when it travelled with the answer; otherwise it must be fetched from (segment, row).
    """

    shard: int
    number: int
    segment: str
    row: int
    score: float
    dense: float
    lexical: float
    cosine: float | None
    bm25: float | None
    frequencies: tuple[float, ...]
    text: dict[str, Any] | None


def rank(answers: Mapping[int, ShardAnswer], *, mode: Mode, unit: Unit, k: int, settings: Retrieval) -> list[Ranked]:
    """The best k chunks of all shards, best first; with unit `document` only the best chunk of each document.

    Equal scores are ordered by document and ordinal, so the order is the same however documents are split.
    """
    present = {shard: answer for shard, answer in answers.items() if len(answer.candidates)}
    if not present:
        return []
    statistics = functools.reduce(operator.add, (answer.statistics for answer in answers.values()))
    fused = {shard: score(answer.candidates, statistics, mode, settings) for shard, answer in present.items()}
    shard = np.concatenate([np.full(len(a.candidates), s) for s, a in present.items()])
    number = np.concatenate([np.arange(len(a.candidates)) for a in present.values()])
    key = np.concatenate([a.candidates.key for a in present.values()])
    ordinal = np.concatenate([a.candidates.ordinal for a in present.values()])
    scores = np.concatenate([fused[s].scores for s in present])
    order = np.lexsort((ordinal, key, -scores))
    if unit == "document":
        order = _first_of_each(order, key)
    return [
        _ranked(present[s], int(s), int(n), (fused[s].dense[n], fused[s].lexical[n]), mode, statistics, settings)
        for s, n in zip(shard[order[:k]], number[order[:k]], strict=True)
    ]


def _first_of_each(order: np.ndarray, key: np.ndarray) -> np.ndarray:
    _, first = np.unique(key[order], return_index=True)
    return order[np.sort(first)]


def _ranked(
    answer: ShardAnswer,
    shard: int,
    number: int,
    parts: tuple[float, float],
    mode: Mode,
    statistics: TermStatistics,
    settings: Retrieval,
) -> Ranked:
    found: Candidates = answer.candidates
    one = slice(number, number + 1)
    words = bm25(found.frequencies[one], found.lengths[one], statistics, settings.bm25_k1, settings.bm25_b)
    return Ranked(
        shard=shard,
        number=number,
        segment=found.segments[found.segment[number]],
        row=int(found.row[number]),
        score=float(parts[0] + parts[1]),
        dense=float(parts[0]),
        lexical=float(parts[1]),
        cosine=None if mode == "lexical" else float(found.cosine[number]),
        bm25=None if mode == "dense" else float(words[0]),
        frequencies=tuple(float(f) for f in found.frequencies[number]),
        text=answer.texts.get(number),
    )
