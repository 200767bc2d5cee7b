"""What an index shard's actor does by itself, without Ray."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock, PropertyMock

import pytest

from actors import index_shard
from actors.index_shard import KEEP_REPLACED_SECONDS, SEARCHES_AT_ONCE, TRIM_ROWS, IndexShard
from kaizen.errors import StorageFull, Unavailable
from kaizen.retrieval.shard import Seal, State
from kaizen.retrieval.view import View


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


def test_what_cannot_be_sealed_is_told_until_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever follows the ledger meanwhile has no trouble of their own, and must not hide it."""
    shard = object.__new__(IndexShard)
    shard._trouble, shard._replica, shard._replaced = {}, 0, []
    shard._changed, shard._upkeep = threading.Condition(), threading.Event()
    shard._settings = Mock()
    shard._settings.fleet.heartbeat_seconds = 0
    due = Seal(View(0, ()), ())
    shard._shard = Mock(view=View(0, ()), next=lambda _now: due)
    shard._feed = Mock(after=lambda _seq: None)
    shard._generations = Mock()
    shard._generations.seal.side_effect = StorageFull("No space is left.", advice="Free space.")

    def rounds(number: int) -> str:
        type(shard._shard).state = PropertyMock(side_effect=[State.SERVING] * number + [State.RETIRED])
        shard._maintain()
        shard._advance()
        return shard._troubles()

    assert rounds(3) == "sealing: No space is left. Free space."
    assert len(caplog.records) == 1
    shard._generations.seal.side_effect = None
    assert rounds(1) == ""


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> IndexShard:
    """A shard that has applied 1; tests set what its `search` does."""
    shard = object.__new__(IndexShard)
    shard._shard, shard._index_id = Mock(state=State.SERVING, view=Mock(seq=1)), "index"
    shard._changed, shard._news = threading.Condition(), threading.Event()
    shard._searching = threading.Semaphore(SEARCHES_AT_ONCE)
    monkeypatch.setattr(index_shard, "ShardQuery", Mock())
    monkeypatch.setattr(index_shard, "finished", lambda answer, query, texts: answer)

    def told(answer: str, index: str, waited_s: float) -> Mock:
        return Mock(pickled=lambda: f"{answer} of {index}" + (", waited for" if waited_s else ""))

    monkeypatch.setattr(index_shard, "replace", told)
    return shard


class Held:
    """Stands for a search that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Event()

    def __call__(self, *_: object) -> str:
        self.begun.release()
        assert self.may_end.wait(10)
        return "answer"


def test_so_many_searches_work_at_once_and_who_waits_for_a_write_takes_no_place(
    serving: IndexShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_shard, "search", held := Held())
    searches = 2 * SEARCHES_AT_ONCE
    with ThreadPoolExecutor(searches + 1) as callers:
        late = callers.submit(serving.search, b"", 2, 10.0)  # for what is not written yet
        assert serving._news.wait(10)
        answers = [callers.submit(serving.search, b"", 1, 10.0) for _ in range(searches)]
        assert all(held.begun.acquire(timeout=10) for _ in range(SEARCHES_AT_ONCE))
        assert not held.begun.acquire(timeout=0.1)
        held.may_end.set()
        assert {answer.result() for answer in answers} == {"answer of index"}
        assert not late.done()
        with serving._changed:
            serving._shard.view.seq = 2
            serving._changed.notify_all()
        assert late.result() == "answer of index, waited for"


def test_nobody_is_searched_for_who_cannot_wait_any_more(serving: IndexShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_shard, "search", held := Held())
    with ThreadPoolExecutor(SEARCHES_AT_ONCE) as callers:
        answers = [callers.submit(serving.search, b"", 1, 10.0) for _ in range(SEARCHES_AT_ONCE)]
        assert all(held.begun.acquire(timeout=10) for _ in answers)
        with pytest.raises(Unavailable, match="more searches than it can answer"):
            serving.search(b"", 1, 0.05)
        held.may_end.set()
        assert [answer.result() for answer in answers] == ["answer of index"] * SEARCHES_AT_ONCE
    assert not held.begun.acquire(timeout=0)
    assert serving.search(b"", 1, 0.05) == "answer of index"


def test_who_waits_for_a_vector_has_looked_the_words_up_and_takes_no_place(
    serving: IndexShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, vector = threading.Semaphore(0), threading.Event()
    monkeypatch.setattr(index_shard, "begin", lambda *_: begun.release() or Mock(end=lambda _: "answer"))
    monkeypatch.setattr(index_shard, "search", lambda *_: "another answer")

    def vector_of() -> bytes:
        assert vector.wait(10)
        return b""

    waiting = 2 * SEARCHES_AT_ONCE
    with ThreadPoolExecutor(waiting) as callers:
        answers = [callers.submit(serving.search, b"", 1, 10.0, vector_of) for _ in range(waiting)]
        assert all(begun.acquire(timeout=10) for _ in range(waiting))
        assert serving.search(b"", 1, 5.0) == "another answer of index"
        assert not any(answer.done() for answer in answers)
        vector.set()
        assert {answer.result() for answer in answers} == {"answer of index"}
