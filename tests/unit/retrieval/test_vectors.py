"""Vectors of a segment: every kind finds, filters never starve, bad vectors are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaizen.errors import BadModel, Corrupt
from kaizen.retrieval.short_codes import SHORT_CODES_LEAST
from kaizen.retrieval.vectors import VectorIndex, choose_kind

KINDS = ("flat", "hnsw", "ivf", "sq8")


def unit_vectors(rows: int, dim: int = 32, seed: int = 1) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_of_each_kind(kind: str) -> None:
    vectors = unit_vectors(3000)
    index = VectorIndex.build(vectors, kind)  # type: ignore[arg-type]
    hits = 0
    for query in unit_vectors(20, seed=2):
        exact = set(np.argsort(-(vectors @ query))[:10].tolist())
        hits += len(exact & set(index.top(query, 10, None)[0].tolist()))
    assert hits / 200 >= (1.0 if kind == "flat" else 0.95)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("allowed_rows", [3, 40, 2000])
def test_a_mask_gives_exactly_k_or_all_that_are_allowed(kind: str, allowed_rows: int) -> None:
    vectors = unit_vectors(3000)
    index = VectorIndex.build(vectors, kind)  # type: ignore[arg-type]
    allowed = np.zeros(3000, bool)
    allowed[np.random.default_rng(3).choice(3000, allowed_rows, replace=False)] = True
    rows, scores = index.top(unit_vectors(1, seed=4)[0], 50, allowed)
    assert len(rows) == len(set(rows.tolist())) == min(50, allowed_rows)
    assert allowed[rows].all()
    assert (np.diff(scores) <= 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same(kind: str, tmp_path: Path) -> None:
    index = VectorIndex.build(unit_vectors(500), kind)  # type: ignore[arg-type]
    index.save(tmp_path)
    query = unit_vectors(1, seed=5)[0]
    loaded = VectorIndex.load(tmp_path, index.kind)
    assert loaded.top(query, 10, None)[0].tolist() == index.top(query, 10, None)[0].tolist()


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    VectorIndex.build(unit_vectors(100), "hnsw").save(tmp_path)
    np.save(tmp_path / "vectors.npy", unit_vectors(99))
    with pytest.raises(Corrupt):
        VectorIndex.load(tmp_path, "hnsw")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_bad_vector_is_refused(bad: float) -> None:
    vectors = unit_vectors(10)
    vectors[3] = bad
    with pytest.raises(BadModel):
        VectorIndex.build(vectors, "flat")


def test_a_nan_query_is_refused() -> None:
    with pytest.raises(BadModel):
        VectorIndex.build(unit_vectors(10), "flat").top(np.full(32, np.nan, np.float32), 3, None)


def test_the_kind_follows_the_size_unless_it_is_set() -> None:
    assert [choose_kind("auto", 1000, 1000), choose_kind("auto", 1001, 1000), choose_kind("sq8", 1, 1000)] == [
        "flat",
        "ivf",
        "sq8",
    ]


@pytest.mark.parametrize("rows", [1, 15, 16, SHORT_CODES_LEAST - 1, SHORT_CODES_LEAST])
def test_an_index_of_few_rows_can_be_made_whatever_kind_is_set(rows: int) -> None:
    vectors = unit_vectors(rows)
    kinds = [choose_kind("ivf", rows, 100), choose_kind("auto", rows, 0)]
    assert kinds == ["ivf" if rows == SHORT_CODES_LEAST else "flat"] * 2
    assert VectorIndex.build(vectors, kinds[0]).top(vectors[0], 1, None)[0].tolist() == [0]


def test_a_cosine_is_the_rows_own_whoever_is_asked_for_beside_it() -> None:
    vectors, query = unit_vectors(300, dim=48), unit_vectors(1, dim=48, seed=7)[0]
    index = VectorIndex.build(vectors, "flat")
    rows = np.random.default_rng(8).permutation(300)
    together = index.cosines(query, rows)
    assert together == pytest.approx(vectors[rows] @ query, abs=1e-6)
    assert together.tolist() == [index.cosines(query, rows[i : i + 1])[0] for i in range(300)]
    assert len(index.cosines(query, rows[:0])) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_of_another_dimension_is_refused_before_memory_is_read(kind: str) -> None:
    index = VectorIndex.build(unit_vectors(300), kind)  # type: ignore[arg-type]
    allowed = np.zeros(300, bool)
    allowed[:5] = True
    with pytest.raises(BadModel, match="32 numbers"):
        index.top(unit_vectors(1, dim=16)[0], 3, allowed)
