"""Row 13: the embedder gives NaN or zero. Such documents are refused with a reason, all others are taken in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from kaizen.errors import KaizenError
from kaizen.models import torch_embedder
from kaizen.models.torch_embedder import TorchEmbedder
from kaizen.models.vectors import Vectors
from tests.chaos.conftest import Chaos
from tests.chaos.small_index import TENANT, SmallIndex, chunks_of, loaded, make_small_index, seal, take_in

FAULT = "every third batch of the model has a row of {}"
FILES = 9


@contextmanager
def spoiling(value: float) -> Iterator[list[int]]:
    """Let the model write `value` into the first row of every third batch; how many rows so far."""
    forward, calls, spoilt = TorchEmbedder._forward, [0], [0]

    def bad(self: TorchEmbedder, batch: Sequence[Sequence[int]], length: int) -> Vectors:
        vectors = forward(self, batch, length)
        calls[0] += 1
        if calls[0] % 3 == 1:
            vectors[0] = value
            spoilt[0] += 1
        return vectors

    with patch.object(TorchEmbedder, "_forward", bad):
        yield spoilt


def wrong(index: SmallIndex, value: float) -> tuple[int, list[str]]:
    """Take in and seal with an embedder that is now and then wrong; how often it was, and what went wrong then."""
    found = []
    with index.opened() as parts:
        with spoiling(value) as spoilt:
            summary = take_in(parts, index.sources)
        if not summary["quarantined"]:
            found.append("nothing was refused")
        if summary["documents"] + summary["quarantined"] != FILES:
            found.append(f"documents were lost: {summary}")
        refused = parts.ledger.quarantine.list(TENANT)
        found += [f"no reason: {one}" for one in refused if "vector" not in one.reason]
        try:
            seal(parts)
        except KaizenError as error:
            return spoilt[0], [*found, f"the index could not be sealed: {error}"]
        views = [one.view for one in loaded(parts)]
        for live in (live for view in views for live in view.segments):
            norms = np.linalg.norm(np.asarray(live.segment.vectors.vectors), axis=1)
            if not np.allclose(norms, 1, atol=1e-3):
                found.append("an unusable vector is in the index")
        if len({name for name, _, _ in chunks_of(*views)}) != summary["documents"]:
            found.append("what was taken in is not found")
    return spoilt[0], found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_documents_without_a_vector_are_refused(chaos: Chaos, tmp_path: Path, value: float) -> None:
    index = make_small_index(tmp_path)
    index.write_sources(0, FILES)
    spoilt, found = wrong(index, value)
    assert spoilt
    chaos.kept(13, FAULT.format(value), trials=spoilt, violations=len(found))
    assert found == []


def test_without_the_check_they_get_through(chaos: Chaos, tmp_path: Path) -> None:
    index = make_small_index(tmp_path)
    index.write_sources(0, FILES)
    with patch.object(torch_embedder, "bad_rows", lambda _vectors: ()):
        spoilt, found = wrong(index, float("nan"))
    chaos.broken(
        13, FAULT.format("nan"), defence="vectors are looked at before they are kept", trials=spoilt,
        violations=len(found), seen=found[-1] if found else "nothing",
    )  # fmt: skip
