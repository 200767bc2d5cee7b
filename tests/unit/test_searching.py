"""A query's path through one release, with an encoder that fails and shards that answer from a real view."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from actors.direct_line import DirectCaller, DirectLine
from actors.fan_out import FanOut
from kaizen.config import Retrieval
from kaizen.errors import BadModel, Unavailable
from kaizen.retrieval.fusion import Mode
from serve_apps.places import Found
from serve_apps.query_batches import QueryBatches
from serve_apps.searching import Query, Searcher
from serve_apps.stopwatch import Stopwatch
from tests.unit.retrieval.rows import vector
from tests.unit.test_fan_out import QUERY, TEXT, Copy


class Encoder:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        if self._error is not None:
            raise self._error
        return np.stack([vector(text) for text in texts])


def found(encoder: Encoder, mode: Mode, copy: Copy | None = None) -> tuple[Found, set[str]]:
    """What a search finds, and the stages that were timed."""

    async def search() -> Found:
        fan = FanOut("index", shards=1, replicas=1, namespace="tests")
        fan._lines = {(0, 0): DirectCaller(DirectLine((copy or Copy()).search).address)}
        served: Any = SimpleNamespace(
            fan_out=fan,
            index=SimpleNamespace(shards=1),
            queries=encoder,
            retrieval=Retrieval(),
            ranker=None,
            release=SimpleNamespace(id="r1"),
            opened={"retrieval": "a", "query_encoder": "b"},
        )
        searcher = Searcher(Mock(), QueryBatches(threads=1))
        query = Query(
            text=TEXT, mode=mode, unit="chunk", k=5, condition=None, min_seq=0, deadline=time.monotonic() + 10
        )
        return await searcher.search(served, QUERY.principal, query, watch)

    watch = Stopwatch()
    return asyncio.run(search()), set(watch.timings_ms()) - {"total"}


def names(one: Found) -> set[str]:
    return {place.document_id for place in one.places}


@pytest.mark.parametrize(("mode", "documents"), [("hybrid", 5), ("dense", 5), ("lexical", 3)])
def test_each_mode(mode: Mode, documents: int) -> None:
    one, stages = found(Encoder(), mode)
    assert (len(names(one)), one.degraded, one.coverage) == (documents, (), 1.0)
    assert ("query_encoder" in one.used["r1"]) == (mode != "lexical")
    assert stages == {"embed", "shards", "rank"}


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
@pytest.mark.parametrize("error", [Unavailable("gone"), BadModel("NaN")])
def test_words_alone_must_do_without_a_vector_and_the_response_says_so(mode: Mode, error: Exception) -> None:
    one, _ = found(Encoder(error), mode)
    assert (names(one), one.degraded) == ({"d0", "d1", "d2"}, ("embedder-unavailable",))
    assert one.places[0].document_id == "d2"
    assert "query_encoder" not in one.used["r1"]


def test_a_bug_in_the_encoder_is_raised_and_nobody_waits_for_the_shards() -> None:
    copy = Copy()
    with pytest.raises(ZeroDivisionError):
        found(Encoder(ZeroDivisionError("a bug")), "hybrid", copy)
    assert copy.ended == 0
