"""A query's path through one release, with an encoder that fails and shards that answer from a real view."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
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
from kaizen.retrieval.query import fetch
from kaizen.retrieval.ranking import Unit, unpickled
from serve_apps.places import Found
from serve_apps.query_batches import QueryBatches
from serve_apps.searching import Query, Searcher
from serve_apps.stopwatch import Stopwatch
from tests.unit.retrieval.rows import document, vector
from tests.unit.test_fan_out import QUERY, TEXT, Copy, hang_up, view_of


class Encoder:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        if self._error is not None:
            raise self._error
        return np.stack([vector(text) for text in texts])


def found(
    encoder: Encoder, mode: Mode, copy: Copy | None = None, unit: Unit = "chunk", lost: int = 0
) -> tuple[Found, dict[str, float]]:
    """What a search finds, and its timings; `lost`: how many times texts are gone that are fetched."""

    own, gone = copy or Copy(), iter(range(lost))

    async def fetched(_: int, places: Sequence[tuple[str, int]], __: float, *, copy: int) -> list[dict[str, Any]]:
        assert copy == 0
        return [] if next(gone, None) is not None else fetch(own.view.by_name(), places)

    async def search() -> Found:
        fan: Any = FanOut("index", shards=1, replicas=1, namespace="tests")
        fan._lines = {(0, 0): DirectCaller(DirectLine(own.search).address)}
        fan.fetch = fetched  # as Ray's call would
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
        query = Query(text=TEXT, mode=mode, unit=unit, k=5, condition=None, min_seq=0, deadline=time.monotonic() + 10)
        try:
            return await searcher.search(served, QUERY.principal, query, watch)
        finally:
            hang_up(fan)

    watch = Stopwatch()
    return asyncio.run(search()), watch.timings_ms()


def names(one: Found) -> set[str]:
    return {place.document_id for place in one.places}


@pytest.mark.parametrize(("mode", "documents"), [("hybrid", 5), ("dense", 5), ("lexical", 3)])
def test_each_mode(mode: Mode, documents: int) -> None:
    one, timings = found(Encoder(), mode)
    assert (len(names(one)), one.degraded, one.coverage) == (documents, (), 1.0)
    assert ("query_encoder" in one.used["r1"]) == (mode != "lexical")
    assert set(timings) == {"embed", "shards", "rank", "total"}


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


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_one_long_document_does_not_take_the_places_of_the_others(mode: Mode) -> None:
    long = document("long", ". ".join([TEXT] * 900))
    others = [document(f"d{i}", f"pump number {i} and a belt") for i in range(8)]
    copy = Copy(view=view_of([long, *others]))
    one, _ = found(Encoder(), mode, copy, unit="document")
    assert (len(one.places), len(names(one)), one.places[0].document_id) == (5, 5, "long")
    assert copy.ended == 3  # 100 and 800 candidates were all of the long one
    assert all(place.item.text for place in one.places)


def test_what_was_found_stays_when_there_is_no_time_to_look_deeper() -> None:
    class Tired(Copy):
        def search(self, *question: Any) -> bytes:  # noqa: ANN401
            if self.ended:
                raise Unavailable("The shard is loading.", advice="Wait.")
            return super().search(*question)

    long, others = document("long", ". ".join([TEXT] * 300)), [document(f"d{i}", f"belt {i}") for i in range(8)]
    one, _ = found(Encoder(), "dense", Tired(view=view_of([long, *others])), unit="document")
    assert (names(one), one.coverage, one.degraded) == ({"long"}, 1.0, ("shard-unavailable",))


def test_where_there_are_fewer_documents_than_wanted_the_shards_are_not_asked_for_ever() -> None:
    copy = Copy(view=view_of([document("long", ". ".join([TEXT] * 300)), document("other", "a belt")]))
    one, _ = found(Encoder(), "dense", copy, unit="document")
    assert (names(one), copy.ended) == ({"long", "other"}, 2)


def one_long_of_nine() -> Copy:
    """Of its nine documents a search has to fetch the texts of all but the best: that one has 900 chunks."""
    long, others = document("long", ". ".join([TEXT] * 900)), [document(f"d{i}", f"belt {i}") for i in range(8)]
    return Copy(view=view_of([long, *others]))


def test_where_texts_went_with_a_copy_another_is_asked() -> None:
    copy = one_long_of_nine()
    one, _ = found(Encoder(), "dense", copy, unit="document", lost=1)
    assert (len(names(one)), one.coverage, one.degraded) == (5, 1.0, ())
    assert copy.ended == 6  # three for each look


def test_hits_whose_texts_are_gone_are_told() -> None:
    one, _ = found(Encoder(), "dense", one_long_of_nine(), unit="document", lost=2)
    assert (names(one), one.coverage, one.degraded) == ({"long"}, 0.2, ("shard-unavailable",))


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_what_was_waited_for_a_change_is_no_time_of_the_shards(mode: Mode) -> None:
    class Late(Copy):
        def search(self, *question: Any) -> bytes:  # noqa: ANN401
            began = time.monotonic()
            time.sleep(0.3)  # as long as the change takes that it waits for
            waited_s = time.monotonic() - began
            return replace(unpickled(super().search(*question)), waited_s=waited_s).pickled()

    _, timings = found(Encoder(), mode, Late())
    assert timings["wait"] + timings["embed"] >= 299
    assert sum(timings[stage] for stage in ("embed", "wait", "shards", "rank")) <= timings["total"]
    assert timings["shards"] < timings["wait"]
