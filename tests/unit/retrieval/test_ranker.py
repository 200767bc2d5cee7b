"""Features, and rankers that put the best of a fused ranking into a new order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaizen.config import Retrieval
from kaizen.errors import BadModel
from kaizen.retrieval.features import FEATURES, features
from kaizen.retrieval.lexical import TermStatistics
from kaizen.retrieval.query import Candidates, ShardAnswer
from kaizen.retrieval.ranker import MODEL_FILE, LinearRanker, open_ranker
from kaizen.retrieval.ranking import FEATURE_DIGITS, rank

STATISTICS = TermStatistics(documents=100, total_length=1000, document_frequencies=(5, 50))


def candidates(cosines: list[float], frequencies: list[tuple[int, int]], first_key: int = 0) -> Candidates:
    n = len(cosines)
    return Candidates(
        segments=("seg",),
        segment=np.zeros(n, np.int32),
        row=np.arange(n),
        key=np.arange(first_key, first_key + n, dtype=np.uint64),
        ordinal=np.arange(n, dtype=np.int32),
        cosine=np.array(cosines, np.float32),
        frequencies=np.array(frequencies, np.uint16),
        lengths=np.full(n, 10, np.int32),
    )


def answer(found: Candidates) -> ShardAnswer:
    return ShardAnswer(seq=1, statistics=STATISTICS, candidates=found, texts={})


def test_features_are_what_they_are_called() -> None:
    found = candidates([0.5, 0.25], [(2, 0), (1, 3)])
    bm25 = np.array([1.0, 2.0])
    table = features(found, bm25, STATISTICS)
    rare, common = STATISTICS.inverse_frequencies()
    expected = {
        "cosine": [0.5, 0.25],
        "bm25_share": list(bm25 / STATISTICS.limit()),
        "coverage": [rare / (rare + common), 1.0],
        "log_length": [np.log(11)] * 2,
        "first": [1.0, 0.0],
        "log_terms": [np.log(3)] * 2,
        "specificity": [(rare + common) / 2 / np.log(101)] * 2,
    }
    assert tuple(expected) == FEATURES
    np.testing.assert_allclose(table, np.array(list(expected.values())).T, rtol=1e-6)


def test_a_query_without_terms_has_features_too() -> None:
    nothing = TermStatistics(documents=3, total_length=30, document_frequencies=())
    found = candidates([0.5], [(0, 0)]).kept(np.array([0]))
    empty = Candidates(
        **{n: getattr(found, n) for n in Candidates.__dataclass_fields__} | {"frequencies": np.zeros((1, 0))}
    )
    assert np.isfinite(features(empty, np.zeros(1), nothing)).all()


def test_a_ranker_orders_the_top_anew_and_leaves_the_rest_below() -> None:
    by_shard = {
        0: answer(candidates([0.9, 0.7, 0.5], [(0, 0)] * 3)),
        1: answer(candidates([0.8, 0.6], [(0, 0)] * 2, 9)),
    }
    upside_down = LinearRanker(weights=(-1.0, 0, 0, 0, 0, 0, 0), depth=3)
    settings = Retrieval()
    plain = rank(by_shard, mode="hybrid", unit="chunk", k=5, settings=settings)
    turned = rank(by_shard, mode="hybrid", unit="chunk", k=5, settings=settings, ranker=upside_down)
    assert [round(item.cosine or 0, 1) for item in plain] == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert [round(item.cosine or 0, 1) for item in turned] == [0.7, 0.8, 0.9, 0.6, 0.5]
    scores = [item.score for item in turned]
    assert scores == sorted(scores, reverse=True)
    assert [item.features[0] for item in turned] == [round(item.cosine or 0, FEATURE_DIGITS) for item in turned]
    dense = rank(by_shard, mode="dense", unit="chunk", k=5, settings=settings, ranker=upside_down)
    assert [item.cosine for item in dense] == [item.cosine for item in plain]


def test_a_ranker_that_cannot_be_right_is_refused() -> None:
    good = {"kind": "linear", "features": list(FEATURES), "weights": [1.0] * len(FEATURES), "depth": 10}
    assert open_ranker(good, None).depth == 10
    for bad in ({"features": ["cosine"]}, {"weights": [1.0]}, {"weights": [float("nan")] * len(FEATURES)}):
        with pytest.raises(BadModel):
            open_ranker({**good, **bad}, None)
    with pytest.raises(BadModel, match="missing"):
        open_ranker({**good, "kind": "lambdarank"}, None)


def test_trees_that_are_no_trees_are_refused(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_text("tree\nnonsense\n")
    with pytest.raises(BadModel):
        open_ranker({"kind": "lambdarank", "features": list(FEATURES), "depth": 10}, tmp_path)
