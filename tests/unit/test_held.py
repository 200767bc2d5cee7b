"""What is made once for all who hold it, and who waits for whom."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

from kaizen.held import Held


class Thing:
    """Can be held weakly."""


def test_one_is_there_as_long_as_somebody_holds_it() -> None:
    held: Held[Thing] = Held()
    first = held.get("a", Thing)
    assert held.get("a", Thing) is first
    assert held.get("b", Thing) is not first
    number = id(first)
    del first
    gc.collect()
    made: list[int] = []
    held.get("a", lambda: made.append(number) or Thing())  # type: ignore[func-returns-value]
    assert made == [number]


def test_who_asks_for_one_that_is_being_made_gets_the_same() -> None:
    held: Held[Thing] = Held()
    begun, may_end = threading.Event(), threading.Event()

    def slowly() -> Thing:
        begun.set()
        may_end.wait(30)
        return Thing()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(held.get, "a", slowly)
        begun.wait(30)
        second = pool.submit(held.get, "a", Thing)
        may_end.set()
        assert first.result(30) is second.result(30)
