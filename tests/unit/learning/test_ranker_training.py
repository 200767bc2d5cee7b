"""Rung 1: which kind is proposed for which data."""

from __future__ import annotations

import numpy as np
import pytest

from kaizen.errors import InvalidInput
from kaizen.learning.ranker_training import RankedQuery, learn_ranker, ndcg
from kaizen.retrieval.features import FEATURES
from kaizen.retrieval.ranker import TreeRanker

COSINE, SHARE, FIRST = (FEATURES.index(name) for name in ("cosine", "bm25_share", "first"))


def queries(relevance: str, count: int = 80) -> list[RankedQuery]:
    """Lists of ten in which one feature tells the answer, and all others are noise."""
    random = np.random.default_rng(7)
    made = []
    for _ in range(count):
        table = random.uniform(0, 0.5, size=(10, len(FEATURES))).astype(np.float32)
        answer = int(random.integers(10))
        if relevance == "cosine":
            answer = int(np.argmax(table[:, COSINE] + table[:, SHARE] + random.normal(scale=0.1, size=10)))
        elif relevance == "first":
            table[:, FIRST] = np.arange(10) == answer
        else:  # in the middle of a feature: no weight can say so, trees can
            table[:, FIRST] = random.choice([0.0, 1.0], size=10)
            table[answer, FIRST] = 0.5
        labels = np.zeros(10)
        labels[answer] = 1.0
        made.append(RankedQuery(table=table, labels=labels, trust=1.0))
    return made


def test_other_weights_are_enough_where_the_cosine_tells() -> None:
    chosen, tried = learn_ranker(queries("cosine"), ratio=0.1)
    assert chosen.kind == "fusion"
    assert 0.5 <= chosen.ratio <= 1.5
    assert chosen.gain > 0.02
    assert [one.kind for one in tried] == ["fusion", "linear", "lambdarank"]


def test_a_linear_ranker_where_another_feature_tells() -> None:
    chosen, _ = learn_ranker(queries("first"), ratio=0.4)
    assert chosen.kind == "linear"
    assert int(np.argmax(chosen.weights)) == FIRST
    asked = queries("first")[0]
    assert ndcg(asked, asked.table @ np.array(chosen.weights)) == 1


def test_trees_where_no_weight_can_tell() -> None:
    chosen, _ = learn_ranker(queries("middle", 200), ratio=0.4)
    assert chosen.kind == "lambdarank"
    ranker = TreeRanker(chosen.trees, depth=10)
    asked = queries("middle", 200)
    assert np.mean([ndcg(one, ranker.scores(one.table)) for one in asked]) > 0.9


def test_the_same_queries_give_the_same_proposal() -> None:
    assert learn_ranker(queries("middle"), ratio=0.4) == learn_ranker(queries("middle"), ratio=0.4)


def test_todays_weights_are_never_proposed() -> None:
    chosen, _ = learn_ranker(queries("cosine"), ratio=2.5)
    assert chosen.ratio != 2.5


def test_too_few_queries_are_refused() -> None:
    silent = [RankedQuery(table=q.table, labels=np.zeros(10), trust=1.0) for q in queries("cosine")]
    with pytest.raises(InvalidInput, match="4 queries"):
        learn_ranker([*silent, *queries("cosine", 4)], ratio=0.4)
