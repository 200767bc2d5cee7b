"""A blocking producer as an iterator that keeps its deadline."""

from __future__ import annotations

import threading
import time

import pytest

from kaizen.errors import DeadlineExceeded, Unavailable
from kaizen.models.pump import Emit, pump

SOON = 0.05
LATER = 30.0


def test_pieces_in_order_and_empty_ones_left_out() -> None:
    def produce(emit: Emit) -> None:
        for piece in ("a", "", "b"):
            emit(piece)

    assert list(pump(produce, deadline=time.monotonic() + LATER)) == ["a", "b"]


def test_a_hanging_producer_is_left_at_the_deadline() -> None:
    released = threading.Event()

    def produce(emit: Emit) -> None:
        emit("a")
        released.wait(LATER)

    pieces = pump(produce, deadline=time.monotonic() + SOON)
    assert next(pieces) == "a"
    with pytest.raises(DeadlineExceeded):
        next(pieces)
    released.set()


def test_its_error_is_raised_where_it_is_read() -> None:
    def produce(emit: Emit) -> None:
        emit("a")
        raise Unavailable("gone")

    pieces = pump(produce, deadline=time.monotonic() + LATER)
    assert next(pieces) == "a"
    with pytest.raises(Unavailable, match="gone"):
        next(pieces)


def test_closing_stops_the_producer() -> None:
    stopped = threading.Event()

    def produce(emit: Emit) -> None:
        while emit("a"):
            time.sleep(0)
        stopped.set()

    pieces = pump(produce, deadline=time.monotonic() + LATER)
    next(pieces)
    pieces.close()
    assert stopped.wait(LATER)


def test_the_deadline_stops_the_producer_too() -> None:
    stopped = threading.Event()

    def produce(emit: Emit) -> None:
        while emit(""):
            time.sleep(0)
        stopped.set()

    with pytest.raises(DeadlineExceeded):
        list(pump(produce, deadline=time.monotonic() + SOON))
    assert stopped.wait(LATER)


def test_what_nobody_wants_any_more_ends_before_the_first_piece() -> None:
    released, wanted, goes_on = threading.Event(), iter([True, False]), []

    def produce(emit: Emit) -> None:
        released.wait(LATER)  # others have their turn, or a prompt is read
        goes_on.append(emit(""))
        ended.set()

    ended, began = threading.Event(), time.monotonic()
    assert list(pump(produce, deadline=began + LATER, wanted=lambda: next(wanted))) == []
    assert time.monotonic() - began < LATER / 2
    released.set()
    assert ended.wait(LATER)
    assert goes_on == [False]
