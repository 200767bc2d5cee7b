"""What an index shard's actor does by itself, without Ray."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from actors import index_shard
from actors.index_shard import KEEP_REPLACED_SECONDS, SEARCHES_AT_ONCE, TRIM_ROWS, IndexShard
from kaizen.retrieval.shard import State


def upkept_once(*replaced: tuple[float, Mock]) -> IndexShard:
    """A shard after one round of its upkeep, in which nothing is due."""

    class Machine:
        def __init__(self) -> None:
            self._states = [State.SERVING, State.RETIRED]

        @property
        def state(self) -> State:
            return self._states.pop(0)

        def next(self, _now: float) -> None:
            return None

    shard = object.__new__(IndexShard)
    shard._shard, shard._replica, shard._replaced = Machine(), 0, list(replaced)  # type: ignore[assignment]
    shard._changed, shard._upkeep = threading.Condition(), threading.Event()
    shard._settings = Mock()
    shard._settings.fleet.heartbeat_seconds = 0.01
    shard._maintain()
    return shard


@pytest.fixture
def trimmed(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands for `return_freed_memory`, and counts."""
    monkeypatch.setattr(index_shard, "return_freed_memory", trimmed := Mock())
    return trimmed


def test_replaced_segments_are_let_go_though_nothing_else_is_written(trimmed: Mock) -> None:
    old, fresh = Mock(rows=TRIM_ROWS), Mock(rows=TRIM_ROWS)
    now = time.monotonic()
    shard = upkept_once((now - KEEP_REPLACED_SECONDS - 1, old), (now, fresh))
    assert [segment for _, segment in shard._replaced] == [fresh]
    assert trimmed.call_count == 1


def test_memory_is_not_given_back_for_a_few_rows(trimmed: Mock) -> None:
    shard = upkept_once((time.monotonic() - KEEP_REPLACED_SECONDS - 1, Mock(rows=10)))
    assert shard._replaced == []
    assert trimmed.call_count == 0


def test_so_many_searches_work_at_once_and_who_waits_for_a_write_takes_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shard = object.__new__(IndexShard)
    shard._shard, shard._index_id = Mock(state=State.SERVING, view=Mock(seq=1)), "index"
    shard._changed, shard._news = threading.Condition(), threading.Event()
    shard._searching = threading.Semaphore(SEARCHES_AT_ONCE)
    begun, may_end, searches = threading.Semaphore(0), threading.Event(), 2 * SEARCHES_AT_ONCE

    def searched(*_: object) -> str:
        begun.release()
        assert may_end.wait(10)
        return "answer"

    monkeypatch.setattr(index_shard, "search", searched)
    monkeypatch.setattr(index_shard, "ShardQuery", Mock())
    monkeypatch.setattr(index_shard, "replace", lambda answer, index: Mock(pickled=lambda: f"{answer} of {index}"))
    with ThreadPoolExecutor(searches + 1) as callers:
        late = callers.submit(shard.search, b"", 2, 10.0)  # for what is not written yet
        assert shard._news.wait(10)
        answers = [callers.submit(shard.search, b"", 1, 10.0) for _ in range(searches)]
        assert all(begun.acquire(timeout=10) for _ in range(SEARCHES_AT_ONCE))
        assert not begun.acquire(timeout=0.1)
        may_end.set()
        assert {answer.result() for answer in answers} == {"answer of index"}
        assert not late.done()
        with shard._changed:
            shard._shard.view.seq = 2
            shard._changed.notify_all()
        assert late.result() == "answer of index"
