import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen.config import Retrieval
from kaizen.retrieval.fusion import Mode, fuse
from kaizen.retrieval.lexical import TermStatistics, bm25

COSINE, BM25 = np.array([0.9, 0.1, -0.2], np.float32), np.array([0.0, 6.0, 3.0])
SETTINGS = Retrieval(dense_weight=0.5, lexical_weight=2.0)


@pytest.mark.parametrize(
    ("mode", "dense", "lexical"),
    [
        ("dense", [0.9, 0.1, -0.2], [0, 0, 0]),
        ("lexical", [0, 0, 0], [0, 0.5, 0.25]),
        ("hybrid", [0.45, 0.05, -0.1], [0, 1, 0.5]),
    ],
)
def test_the_score_is_the_sum_of_its_parts(mode: Mode, dense: list[float], lexical: list[float]) -> None:
    fused = fuse(COSINE, BM25, mode, SETTINGS, limit=12.0)
    assert fused.dense.tolist() == pytest.approx(dense)
    assert fused.lexical.tolist() == pytest.approx(lexical)
    assert fused.scores.tolist() == (fused.dense + fused.lexical).tolist()


def test_a_query_without_known_terms_is_decided_by_meaning() -> None:
    fused = fuse(COSINE, np.zeros(3), "hybrid", SETTINGS, limit=0.0)
    assert np.argsort(-fused.scores).tolist() == np.argsort(-COSINE).tolist()


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_the_score_of_a_candidate_does_not_depend_on_the_others(kept: list[bool]) -> None:
    whole = fuse(COSINE, BM25, "hybrid", SETTINGS, limit=12.0).scores
    part = fuse(COSINE[kept], BM25[kept], "hybrid", SETTINGS, limit=12.0).scores
    assert part.tolist() == whole[kept].tolist()


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=8),
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 100)), min_size=1, max_size=8),
)
def test_no_chunk_exceeds_the_limit(dfs: list[int], length: int, terms: list[tuple[int, int]]) -> None:
    terms = terms[: len(dfs)]
    statistics = TermStatistics(documents=100, total_length=5000, document_frequencies=tuple(df for _, df in terms))
    frequencies = np.array([[tf if df else 0 for tf, df in terms]])
    assert bm25(frequencies, np.array([length]), statistics, 1.2, 0.75)[0] <= statistics.limit()
