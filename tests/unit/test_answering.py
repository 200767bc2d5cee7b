"""Answers in the gateway: by one release alone, whoever that is in the end. Searches and texts are made up."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest
from starlette.responses import StreamingResponse

from kaizen.answering.answer import NOT_IN_DOCUMENTS, NOT_IN_PART, Answer, Composer, Delta, Final
from kaizen.config import Answering, GeneratorSettings, Settings
from kaizen.errors import Unavailable
from kaizen.records import Principal
from serve_apps.admission import Admission
from serve_apps.answering import Answered, Answerer
from serve_apps.arms import Arms
from serve_apps.asking import Asking
from serve_apps.places import Found
from serve_apps.rollout_router import Assigned
from serve_apps.schemas import AnswerRequest
from serve_apps.searching import Query
from serve_apps.served import Served
from serve_apps.stopwatch import Stopwatch

CALLER = Principal(key_id="k", tenant="t", groups=(), scopes=("search",))


def served(name: str, *, chunks: int = 4, seconds: float = 2.0) -> Served:
    release: Any = SimpleNamespace(
        release=SimpleNamespace(id=name),
        retrieval=SimpleNamespace(timeout_seconds=seconds),
        answering=SimpleNamespace(chunks=chunks),
        generator=None,
        composer=Composer(Answering(), GeneratorSettings()),
        opened={"prompt": "p"},
    )
    return cast(Served, release)


class Searches:
    """A searcher whose releases find nothing; `down` cannot even look."""

    def __init__(self, down: str = "", coverage: float = 1.0) -> None:
        self._down = down
        self._coverage = coverage
        self.asked: list[tuple[str, int, float]] = []

    async def search(self, served: Served, principal: Principal, query: Query, watch: Stopwatch) -> Found:
        name = served.release.id
        self.asked.append((name, query.k, query.deadline - time.monotonic()))
        if name == self._down:
            raise Unavailable("down")
        return Found(places=(), index_seq=1, coverage=self._coverage, degraded=(), used={name: {}})


def answerer(searches: Searches) -> Answerer:
    settings: Any = SimpleNamespace(
        server=SimpleNamespace(max_ongoing_requests=2), answering=SimpleNamespace(timeout_seconds=20)
    )
    return Answerer(settings, Arms(cast(Any, searches), explore_share=0.0))


async def answered(by: Answerer, assigned: Assigned, **fields: Any) -> Answered:  # noqa: ANN401
    *_, last = [event async for event in by.events(assigned, CALLER, AnswerRequest(question="q", **fields))]
    assert isinstance(last, Answered)
    return last


def test_the_stable_release_answers_with_its_own_settings_for_a_challenger_in_trouble() -> None:
    stable, challenger = served("r1", chunks=4, seconds=2.0), served("r2", chunks=16, seconds=0.5)
    assigned = Assigned(served=challenger, arm="challenger", rollout=1, stable=stable, challenger=challenger)
    searches = Searches(down="r2")
    one = asyncio.run(answered(answerer(searches), assigned))
    (_, theirs, their_seconds), (_, own, own_seconds) = searches.asked
    assert (theirs, own) == (16, 4)
    assert their_seconds <= 0.5
    assert 0.5 < own_seconds <= 2
    assert (one.outcome.served, one.outcome.found.degraded) == (stable, ("challenger-unavailable",))


def asking(searches: Searches) -> tuple[Asking, Any]:
    """A replica's part for questions, under one release; and its recorder."""
    stable = served("r1")
    router: Any = SimpleNamespace(for_caller=lambda *_: Assigned(served=stable, arm="stable", rollout=1, stable=stable))
    one = Asking(Settings(), Mock(), Mock(), router, Mock(), Admission(ongoing=2, queued=2))
    recorder = one._recorder = Mock(record=AsyncMock(return_value=[]))
    one._answerer = answerer(searches)
    return one, recorder


@pytest.mark.parametrize(("coverage", "said"), [(1.0, NOT_IN_DOCUMENTS), (0.5, NOT_IN_PART)])
def test_what_could_not_be_searched_is_not_said_to_hold_nothing(coverage: float, said: str) -> None:
    one, recorder = asking(Searches(coverage=coverage))
    answer = asyncio.run(one.answer(CALLER, AnswerRequest(question="q")))
    assert (answer.answer, answer.abstained, answer.coverage) == (said, True, coverage)
    assert recorder.record.await_args.args[-1] == said


@pytest.mark.parametrize("way", [Asking.answer, Asking.answer_events])
def test_where_nothing_could_be_read_there_is_no_answer(way: Any) -> None:  # noqa: ANN401 (either way)
    one, recorder = asking(Searches(coverage=0.0))
    with pytest.raises(Unavailable, match="could be read in time"):
        asyncio.run(way(one, CALLER, AnswerRequest(question="q")))
    _, outcome, _, text = recorder.record.await_args.args  # who judges the release must see it
    assert (outcome.found.coverage, text) == (0, None)


class Call:
    """A generator that writes nothing until its deadline, and ends when it is stopped and `may_end`."""

    def __init__(self) -> None:
        self.fingerprint = ""
        self.stopped, self.may_end = threading.Event(), threading.Event()

    def stop(self) -> None:
        self.stopped.set()


class Waiting:
    """A composer that waits for the generator, and then says a last word."""

    def __init__(self, first: str = "") -> None:
        self._first = first
        self.begun, self.closed = threading.Semaphore(0), threading.Event()

    def events(self, _question: str, _sources: object, call: Call, *, deadline: float, partial: bool) -> Iterator[Any]:
        try:
            if self._first:
                yield Delta(self._first)
            self.begun.release()
            if call.stopped.wait(deadline - time.monotonic()):
                call.may_end.wait(10)
            yield Final(Answer(text="x", grounded=True, support=1.0), replaced=False)
        finally:
            self.closed.set()


def waiting(composer: Waiting) -> tuple[Assigned, list[Call]]:
    """What a request holds of a release whose answers wait; and the calls that it makes."""
    calls: list[Call] = []
    generator = SimpleNamespace(call=lambda: calls.append(Call()) or calls[-1])
    stable: Any = SimpleNamespace(**{**vars(served("r1")), "composer": composer, "generator": generator})
    return Assigned(served=stable, arm="stable", rollout=1, stable=stable), calls


def test_who_hangs_up_stops_the_generator_and_keeps_their_place_until_their_thread_is_back() -> None:
    async def ask() -> None:
        composer, admission = Waiting(), Admission(ongoing=2, queued=2)
        assigned, calls = waiting(composer)
        by = answerer(Searches())

        async def one(seconds: float) -> Answered:
            async with admission.slot():
                return await answered(by, assigned, timeout_seconds=seconds)

        gone = [asyncio.create_task(one(60)) for _ in range(2)]
        for _ in gone:
            assert await asyncio.to_thread(composer.begun.acquire, timeout=10)
        for task in (*gone, *gone):  # twice: whoever is impatient changes nothing
            task.cancel()
            await asyncio.sleep(0)
        assert all([await asyncio.to_thread(call.stopped.wait, 10) for call in calls])
        assert not admission.free()
        next_one = asyncio.create_task(one(0.2))
        for call in calls:
            call.may_end.set()
        await asyncio.wait(gone)
        assert all(task.cancelled() for task in gone)
        began = time.monotonic()
        assert (await next_one).answer.text == "x"
        assert time.monotonic() - began < 5
        assert admission.free()

    asyncio.run(ask())


async def streamed(assigned: Assigned) -> tuple[Admission, AsyncIterator[str]]:
    """An answer that is read in pieces, and the one place that it takes."""
    one, _ = asking(Searches())
    one._router = cast(Any, SimpleNamespace(for_caller=lambda *_: assigned))
    one._admission = Admission(ongoing=1, queued=0)
    return one._admission, await one.answer_events(CALLER, AnswerRequest(question="q", stream=True))


async def until_free(admission: Admission) -> None:
    async with asyncio.timeout(10):
        while not admission.free():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("read", [0, 1])
def test_a_stream_that_is_not_read_to_its_end_gives_its_place_back(read: int) -> None:
    async def ask() -> None:
        composer = Waiting(first="a piece")
        assigned, _ = waiting(composer)
        admission, events = await streamed(assigned)
        assert not admission.free()
        assert [await anext(events) for _ in range(read)] == ['event: delta\ndata: {"text": "a piece"}\n\n'] * read
        del events
        gc.collect()
        await until_free(admission)
        assert composer.closed.is_set()

    asyncio.run(ask())


def test_who_hangs_up_on_a_stream_is_gone_at_once_and_their_place_is_free_when_the_thread_is_back() -> None:
    async def ask() -> None:
        composer = Waiting(first="a piece")
        assigned, calls = waiting(composer)
        admission, events = await streamed(assigned)
        hung_up = asyncio.Event()

        async def receive() -> dict[str, str]:
            await hung_up.wait()
            return {"type": "http.disconnect"}

        response = StreamingResponse(events)({"type": "http"}, receive, AsyncMock())
        reading = asyncio.create_task(cast(Any, response))
        assert await asyncio.to_thread(composer.begun.acquire, timeout=10)
        hung_up.set()
        async with asyncio.timeout(5):  # until then Starlette would keep the loop busy
            await reading
        assert await asyncio.to_thread(calls[0].stopped.wait, 10)
        assert not admission.free()
        calls[0].may_end.set()
        await until_free(admission)
        assert composer.closed.is_set()

    asyncio.run(ask())
