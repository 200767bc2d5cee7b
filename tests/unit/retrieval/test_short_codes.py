"""Short codes keep the dimensions that matter and read as many lists as the vectors call for."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from kaizen.retrieval import short_codes
from kaizen.retrieval.short_codes import build_short_codes
from kaizen.retrieval.vectors import VectorIndex


def unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def vectors_in(topics: int, rows: int = 6000, dim: int = 64, spread: float = 0.5) -> np.ndarray:
    chance = np.random.default_rng(1)
    centres = unit(chance.standard_normal((topics, dim)))
    return unit(centres[chance.integers(0, topics, rows)] + spread * unit(chance.standard_normal((rows, dim))))


@pytest.fixture(autouse=True)
def _small_indices_may_read_few_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_codes, "LISTS_LEAST", 1)


def lists_read(vectors: np.ndarray) -> float:
    ivf = faiss.extract_index_ivf(build_short_codes(vectors))
    return ivf.nprobe / ivf.nlist


def test_clear_topics_need_fewer_lists_than_vectors_without_structure() -> None:
    assert lists_read(vectors_in(topics=100)) < 0.7 * lists_read(vectors_in(topics=6000))


def test_recall_holds_without_any_structure() -> None:
    vectors = vectors_in(topics=6000)
    index = VectorIndex.build(vectors, "ivf")
    queries = unit(np.random.default_rng(2).standard_normal((40, 64)))
    hits = 0
    for query in queries:
        exact = np.argsort(-(vectors @ query))[:10].tolist()
        hits += len(set(exact) & set(index.top(query, 10, None)[0].tolist()))
    assert hits / 400 >= 0.95


@pytest.mark.parametrize(("told", "kept"), [(20, 32), (60, 64), (100, 100)])
def test_dimensions_that_tell_nothing_are_left_out(told: int, kept: int) -> None:
    scale = np.where(np.arange(100) < told, 1.0, 0.01)
    vectors = unit(np.random.default_rng(3).standard_normal((2000, 100)) * scale)
    assert faiss.extract_index_ivf(build_short_codes(vectors)).d == kept


def test_an_odd_number_of_dimensions_is_indexed() -> None:
    vectors = vectors_in(topics=50, rows=2000, dim=33)
    assert VectorIndex.build(vectors, "ivf").top(vectors[7], 1, None)[0].tolist() == [7]


def test_what_was_measured_is_kept_in_the_file(tmp_path: Path) -> None:
    vectors = vectors_in(topics=100)
    built = faiss.extract_index_ivf(build_short_codes(vectors)).nprobe
    VectorIndex.build(vectors, "ivf").save(tmp_path)
    read = faiss.extract_index_ivf(faiss.read_index(str(tmp_path / "vectors.faiss")))
    assert read.nprobe == built > 1


def test_an_index_of_an_earlier_version_is_searched_as_before(tmp_path: Path) -> None:
    vectors = vectors_in(topics=100)
    earlier = faiss.index_factory(64, "IVF100,PQ32x4fs", faiss.METRIC_INNER_PRODUCT)
    earlier.train(vectors)
    earlier.add(vectors)
    np.save(tmp_path / "vectors.npy", vectors)
    faiss.write_index(earlier, str(tmp_path / "vectors.faiss"))
    assert VectorIndex.load(tmp_path, "ivf").top(vectors[5], 3, None)[0][0] == 5
