from collections.abc import Callable
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen.evaluation.ranking import documents_of, means, measure, ndcg, recall, reciprocal_rank

GRADES = {"a": 3, "b": 1, "c": 0, "d": 2, "e": -1}


def test_ndcg_has_linear_gain_and_the_ideal_over_all_that_is_judged() -> None:
    found = 1 / log2(2) + 3 / log2(4)
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ndcg(["b", "c", "a", "x"], GRADES, 10) == pytest.approx(found / ideal)


def test_ndcg_is_cut_at_k_on_both_sides() -> None:
    assert ndcg(["d", "a"], GRADES, 1) == pytest.approx(2 / 3)


def test_a_negative_grade_is_no_loss() -> None:
    assert ndcg(["e", "a"], GRADES, 10) == ndcg(["x", "a"], GRADES, 10)


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 1 / 3), (4, 1)])
def test_recall_is_of_all_that_is_relevant(k: int, expected: float) -> None:
    assert recall(["c", "a", "b", "d"], GRADES, k) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranking", "expected"), [(["a"], 1), (["c", "x", "b", "a"], 1 / 3), (["x"] * 0, 0), (["c", "e", "x", "y", "a"], 0)]
)
def test_reciprocal_rank_is_that_of_the_first_relevant(ranking: list[str], expected: float) -> None:
    assert reciprocal_rank(ranking, GRADES, 4) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [ndcg, recall, reciprocal_rank])
def test_nothing_relevant_gives_zero_and_a_document_twice_is_an_error(metric: Callable[..., float]) -> None:
    assert metric(["a"], {"a": 0}, 10) == 0
    with pytest.raises(ValueError, match="twice"):
        metric(["a", "a"], GRADES, 10)


@given(st.permutations(sorted(GRADES)), st.integers(1, 6))
def test_ndcg_is_one_exactly_for_an_ideal_order(ranking: list[str], k: int) -> None:
    gains = [max(0, GRADES[document]) for document in ranking][:k]
    assert (ndcg(ranking, GRADES, k) > 1 - 1e-12) == (gains == sorted([3, 2, 1, 0, 0], reverse=True)[:k])


def test_a_query_without_a_ranking_counts_as_zero() -> None:
    measured = measure({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}})
    assert measured["ndcg@10"] == {"q1": 1, "q2": 0}
    assert means(measured) == {"ndcg@10": 0.5, "recall@100": 0.5, "mrr@10": 0.5}


def test_a_document_stands_where_its_best_chunk_stands() -> None:
    assert documents_of(["d2", "d1", "d2", "d3", "d1"]) == ["d2", "d1", "d3"]
