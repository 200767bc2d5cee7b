"""From the shards' candidates to one ranked list: every candidate is scored under the statistics of all shards."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kaizen.config import Retrieval
from kaizen.retrieval.fusion import Fused, Mode
from kaizen.retrieval.query import ShardAnswer, score

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
    scored = {shard: score(answer.candidates, statistics, mode, settings) for shard, answer in present.items()}
    shard = np.concatenate([np.full(len(a.candidates), s) for s, a in present.items()])
    number = np.concatenate([np.arange(len(a.candidates)) for a in present.values()])
    key = np.concatenate([a.candidates.key for a in present.values()])
    ordinal = np.concatenate([a.candidates.ordinal for a in present.values()])
    scores = np.concatenate([fused.scores for fused, _ in scored.values()])
    order = np.lexsort((ordinal, key, -scores))
    if unit == "document":
        order = _first_of_each(order, key)
    best = zip(shard[order[:k]].tolist(), number[order[:k]].tolist(), strict=True)
    return [_ranked(present[s], s, n, *scored[s], mode) for s, n in best]


def _first_of_each(order: np.ndarray, key: np.ndarray) -> np.ndarray:
    _, first = np.unique(key[order], return_index=True)
    return order[np.sort(first)]


def _ranked(answer: ShardAnswer, shard: int, number: int, fused: Fused, bm25: np.ndarray, mode: Mode) -> Ranked:
    found = answer.candidates
    return Ranked(
        shard=shard,
        number=number,
        segment=found.segments[found.segment[number]],
        row=int(found.row[number]),
        score=float(fused.scores[number]),
        dense=float(fused.dense[number]),
        lexical=float(fused.lexical[number]),
        cosine=None if mode == "lexical" else float(found.cosine[number]),
        bm25=None if mode == "dense" else float(bm25[number]),
        frequencies=tuple(found.frequencies[number].tolist()),
        text=answer.texts.get(number),
    )
