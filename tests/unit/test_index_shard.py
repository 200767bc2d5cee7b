"""What an index shard's actor does by itself, without Ray."""

from __future__ import annotations

import threading
import time
from unittest.mock import Mock

import pytest

from actors import index_shard
from actors.index_shard import KEEP_REPLACED_SECONDS, TRIM_ROWS, IndexShard
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
