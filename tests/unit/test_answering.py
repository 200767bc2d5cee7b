"""Answers in the gateway: by one release alone, whoever that is in the end. Searches and texts are made up."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest

from kaizen.answering.answer import NOT_IN_DOCUMENTS, NOT_IN_PART, Composer
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
    assert (theirs, own, one.query.k) == (16, 4, 4)
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
def test_where_no_shard_answered_there_is_no_answer(way: Any) -> None:  # noqa: ANN401 (either way)
    one, recorder = asking(Searches(coverage=0.0))
    with pytest.raises(Unavailable, match="could not be searched"):
        asyncio.run(way(one, CALLER, AnswerRequest(question="q")))
    _, _, outcome, _, text = recorder.record.await_args.args  # who judges the release must see it
    assert (outcome.found.coverage, text) == (0, None)
