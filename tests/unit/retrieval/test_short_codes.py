"""Short codes keep the dimensions that matter and read as many lists as the vectors call for."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from kaizen.errors import Corrupt
from kaizen.retrieval import short_codes
from kaizen.retrieval import vectors as vectors_module
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
    assert faiss.extract_index_ivf(index._index).ntotal == len(vectors)  # two lists are for large ones
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


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row in two lists, however few there are."""
    monkeypatch.setattr(short_codes, "TWICE_FROM", 1)


def queries_near(vectors: np.ndarray, count: int) -> np.ndarray:
    chance = np.random.default_rng(4)
    near = vectors[chance.integers(0, len(vectors), count)]
    return unit(0.6 * near + 0.8 * unit(chance.standard_normal((count, vectors.shape[1]))))


def recall(index: VectorIndex, queries: np.ndarray, allowed: np.ndarray | None = None) -> float:
    """Of the ten nearest allowed rows, how many are found."""
    hits = 0
    for query in queries:
        cosines = index.vectors @ query
        exact = np.argsort(-(cosines if allowed is None else np.where(allowed, cosines, -2)))[:10]
        hits += len(set(exact.tolist()) & set(index.top(query, 10, allowed)[0].tolist()))
    return hits / (10 * len(queries))


@pytest.mark.usefixtures("twice")
def test_a_row_in_two_lists_comes_once() -> None:
    vectors = vectors_in(topics=100)
    index = VectorIndex.build(vectors, "ivf")
    assert faiss.extract_index_ivf(index._index).ntotal == 2 * len(vectors)
    assert recall(index, queries_near(vectors, 40)) >= 0.98
    for query in queries_near(vectors, 5):
        for k in (1, 50, 2000, len(vectors)):
            rows, cosines = index.top(query, k, None)
            assert len(set(rows.tolist())) == len(rows) == k
            np.testing.assert_allclose(cosines, vectors[rows] @ query, atol=1e-6)


@pytest.mark.usefixtures("twice")
def test_a_filter_is_applied_inside_of_two_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "NARROW_ROWS", 1)  # so that a tenth is not scanned exactly
    monkeypatch.setattr(short_codes, "LISTS_LEAST", 256)
    vectors = vectors_in(topics=100)
    index = VectorIndex.build(vectors, "ivf")
    allowed = np.random.default_rng(5).random(len(vectors)) < 0.1
    queries = queries_near(vectors, 20)
    assert recall(index, queries, allowed) >= 0.98
    for k in (10, 500, 2 * len(vectors)):
        rows = index.top(queries[0], k, allowed)[0]
        assert len(set(rows.tolist())) == len(rows) == min(k, np.count_nonzero(allowed))
        assert allowed[rows].all()


def test_the_second_list_is_read_when_the_first_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many lists, fewer hold the nearest rows when each lies in two."""
    vectors, shares = vectors_in(topics=6000, rows=12_000), []
    for start in (10**9, 1):
        monkeypatch.setattr(short_codes, "TWICE_FROM", start)
        monkeypatch.setattr(short_codes, "LISTS", {1: 4, 2: 4})
        shares.append(lists_read(vectors))
    assert shares[1] < 0.8 * shares[0]


def test_the_second_list_lies_in_another_direction_than_the_second_nearest() -> None:
    vectors = vectors_in(topics=100)
    quantizer = faiss.IndexFlatIP(64)
    quantizer.add(0.6 * vectors[:80])
    homes = short_codes._homes(vectors, quantizer, 2)
    nearest = quantizer.search(vectors, 2)[1]
    assert (homes[:, 0] == nearest[:, 0]).all()
    assert (homes[:, 1] != homes[:, 0]).all()

    def parallel(second: np.ndarray) -> float:
        centres = quantizer.reconstruct_n(0, quantizer.ntotal)
        left = [unit(vectors - centres[home]) for home in (homes[:, 0], second)]
        return float(np.abs((left[0] * left[1]).sum(axis=1)).mean())

    assert parallel(homes[:, 1]) < parallel(nearest[:, 1])


@pytest.mark.usefixtures("twice")
def test_two_lists_are_saved_and_loaded(tmp_path: Path) -> None:
    vectors = vectors_in(topics=100)
    built = VectorIndex.build(vectors, "ivf")
    built.save(tmp_path)
    loaded = VectorIndex.load(tmp_path, "ivf")
    for query in queries_near(vectors, 10):
        assert loaded.top(query, 20, None)[0].tolist() == built.top(query, 20, None)[0].tolist()
    for rows in (len(vectors) // 2, len(vectors) - 1, 2 * len(vectors)):
        np.save(tmp_path / "vectors.npy", np.resize(vectors, (rows, 64)))
        with pytest.raises(Corrupt):
            VectorIndex.load(tmp_path, "ivf")


def test_an_index_with_a_row_in_one_list_and_without_residuals_is_searched_as_before(tmp_path: Path) -> None:
    """What the version before two lists wrote."""
    vectors = vectors_in(topics=100)
    rotation = faiss.RandomRotationMatrix(64, 32)
    rotation.init(1)
    ivf = faiss.IndexIVFPQFastScan(faiss.IndexFlatIP(32), 32, 100, 16, 4, faiss.METRIC_INNER_PRODUCT)
    earlier = faiss.IndexPreTransform(rotation, ivf)
    earlier.train(vectors)
    earlier.add(vectors)
    ivf.nprobe = 60
    np.save(tmp_path / "vectors.npy", vectors)
    faiss.write_index(earlier, str(tmp_path / "vectors.faiss"))
    assert recall(VectorIndex.load(tmp_path, "ivf"), queries_near(vectors, 40)) >= 0.9
    np.save(tmp_path / "vectors.npy", vectors[: len(vectors) // 2])
    with pytest.raises(Corrupt):
        VectorIndex.load(tmp_path, "ivf")
