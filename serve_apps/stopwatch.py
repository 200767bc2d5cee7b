"""Timings of one request by stage, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Starts when it is made. A stage that is entered twice counts its time together."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}
        self._last: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside under `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - started) * 1000
            self._last[name] = spent
            self._stages[name] = self._stages.get(name, 0.0) + spent

    def part(self, name: str, seconds: float, *, of: str) -> None:
        """So many seconds of what was last timed as `of`, or all of it, were spent on `name`."""
        spent = min(max(0.0, seconds * 1000), self._last.get(of, 0.0))
        if spent:
            self._stages[of] -= spent
            self._stages[name] = self._stages.get(name, 0.0) + spent

    def spent_ms(self, *, without: str = "") -> float:
        """Milliseconds of all stages together, but for one of them."""
        return sum(spent for name, spent in self._stages.items() if name != without)

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage, and `total` since the start."""
        total = (time.perf_counter() - self._started) * 1000
        return {name: round(spent, 3) for name, spent in {**self._stages, "total": total}.items()}
