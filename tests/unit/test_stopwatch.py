"""Timings of one request by stage."""

from __future__ import annotations

import math

import pytest

from serve_apps import stopwatch
from serve_apps.stopwatch import Stopwatch


def test_a_part_is_of_the_last_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now)
    watch = Stopwatch()
    for seconds in (0.2, 0.05):
        with watch.stage("shards"):
            now += seconds
    watch.part("wait", math.inf, of="shards")
    assert watch.timings_ms() == {"shards": 200, "wait": 50, "total": 250}
    assert watch.spent_ms() == pytest.approx(250)
    assert watch.spent_ms(without="wait") == pytest.approx(200)
