"""On a GPU the same comes out as on a CPU."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from kaizen.config import EmbedderSettings
from kaizen.models.embedder import open_embedder
from kaizen.models.embedder_spec import read_spec
from kaizen.retrieval.vectors import VectorIndex
from kaizen.text.stdlib_corpus import stdlib_documents

TEXTS = 512


def test_the_embedder_on_cuda_agrees_with_the_cpu() -> None:
    """Real text of all lengths; a bf16 or TF32 that lost too much, or a wrong batch order, would show."""
    texts = [row["text"] for row in itertools.islice(stdlib_documents(), TEXTS)]
    spec = read_spec(EmbedderSettings().model)
    cpu, cuda = (
        open_embedder(spec, EmbedderSettings(device=device), "bulk").embed(texts) for device in ("cpu", "cuda")
    )
    cosines = np.einsum("ij,ij->i", cpu, cuda)
    assert cosines.min() >= 0.999
    assert np.linalg.norm(cuda, axis=1) == pytest.approx(1, abs=1e-3)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """(20000, 384) float32, normalised, in clusters as texts are."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(50, 384))
    made = centres[random.integers(50, size=20_000)] + random.normal(size=(20_000, 384))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def test_faiss_on_cuda_equals_flat_on_the_cpu(vectors: np.ndarray) -> None:
    cpu, cuda = (VectorIndex.build(vectors, "flat", device=device) for device in ("cpu", "cuda"))
    for query in vectors[:100]:
        rows, cosines = cpu.top(query, 20, None)
        found, scores = cuda.top(query, 20, None)
        assert scores == pytest.approx(cosines, abs=1e-5)
        assert set(found) == set(rows)


def test_a_filter_on_cuda_gives_only_what_is_allowed(vectors: np.ndarray) -> None:
    cpu, cuda = (VectorIndex.build(vectors, "flat", device=device) for device in ("cpu", "cuda"))
    allowed = np.arange(len(vectors)) % 7 == 0
    for query in vectors[:20]:
        rows, _ = cpu.top(query, 50, allowed)
        found, _ = cuda.top(query, 50, allowed)
        assert len(found) == 50
        assert allowed[found].all()
        assert set(found) == set(rows)


def test_an_index_saved_on_cuda_loads_on_the_cpu(vectors: np.ndarray, tmp_path: Path) -> None:
    VectorIndex.build(vectors, "flat", device="cuda").save(tmp_path)
    loaded = VectorIndex.load(tmp_path, "flat", device="cpu")
    assert loaded.top(vectors[3], 1, None)[0].tolist() == [3]
