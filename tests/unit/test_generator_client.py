"""The way to a generator and back, with a Ray that is made up: who hangs up is not waited for, nor written for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

import pytest

from actors import generator, generator_client
from actors.generator import GeneratorActor
from actors.generator_client import GeneratorCall
from kaizen.errors import DeadlineExceeded
from kaizen.models.pump import Emit, pump


class MadeUp:
    """Ray, as far as a call needs it: an actor whose stream is `pieces`, and then silence where it `hangs`."""

    def __init__(self, *pieces: str, hangs: bool = False) -> None:
        self._pieces, self._hangs = list(pieces), hangs
        self.cancelled: list[object] = []
        self.while_it_waits: Callable[[], None] = lambda: None

    def get_actor(self, *_: object, **__: object) -> Any:  # noqa: ANN401 (an actor)
        return SimpleNamespace(stream=SimpleNamespace(remote=lambda *_: self))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._pieces:
            raise StopIteration
        return self._pieces.pop(0)

    def wait(self, of: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        if self._pieces or not self._hangs:
            return of, []
        time.sleep(timeout)
        self.while_it_waits()
        return [], of

    def get(self, piece: str) -> str:
        return piece

    def cancel(self, pieces: object) -> None:
        self.cancelled.append(pieces)


def called(monkeypatch: pytest.MonkeyPatch, made_up: MadeUp, seconds: float = 60) -> tuple[GeneratorCall, Any]:
    monkeypatch.setattr(generator_client, "ray", made_up)
    call = GeneratorCall("f" * 64, "tests")
    return call, call.stream([], max_tokens=9, deadline=time.monotonic() + seconds)


def test_a_text_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    call, stream = called(monkeypatch, made_up := MadeUp("fingerprint", "one ", "two"))
    assert (list(stream), call.fingerprint, made_up.cancelled) == (["one ", "two"], "fingerprint", [])


def test_the_deadline_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    _, stream = called(monkeypatch, MadeUp("fingerprint", "one ", hangs=True), seconds=0.5)
    assert next(stream) == "one "
    with pytest.raises(DeadlineExceeded):
        next(stream)
    assert 0.5 <= time.monotonic() - began < 5


def test_who_stops_waiting_is_not_written_for(monkeypatch: pytest.MonkeyPatch) -> None:
    call, stream = called(monkeypatch, made_up := MadeUp("fingerprint", "one ", hangs=True))
    made_up.while_it_waits = call.stop
    began = time.monotonic()
    assert next(stream) == "one "
    with pytest.raises(CancelledError):
        next(stream)
    assert time.monotonic() - began < 5
    assert made_up.cancelled == [made_up]


def test_who_stops_reading_is_not_written_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, stream = called(monkeypatch, made_up := MadeUp("fingerprint", "one ", "two"))
    assert next(stream) == "one "
    stream.close()
    assert made_up.cancelled == [made_up]


def actor_of(stream: Callable[..., Iterator[str]]) -> Any:  # noqa: ANN401 (an actor)
    actor: Any = object.__new__(GeneratorActor)
    actor._generator = SimpleNamespace(record={"fingerprint": "f"}, stream=stream)
    return actor


def cancelled_once(monkeypatch: pytest.MonkeyPatch, cancelled: Callable[[], bool]) -> None:
    task = SimpleNamespace(is_canceled=cancelled)
    monkeypatch.setattr(generator, "ray", SimpleNamespace(get_runtime_context=lambda: task))


def test_the_actor_writes_no_further_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on = threading.Semaphore(0)

    def write(emit: Emit) -> None:
        while emit("piece"):
            may_go_on.acquire(timeout=10)
        ended.set()

    got: list[str] = []
    ended = threading.Event()
    cancelled_once(monkeypatch, lambda: len(got) == 3)
    for piece in actor_of(lambda _, *, max_tokens, **asked: pump(write, **asked)).stream([], 9, 60.0):
        got.append(piece)
        may_go_on.release()
    assert got == ["f", "piece", "piece"]
    assert ended.wait(10)


def test_the_prompt_of_who_is_cancelled_before_their_turn_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    turn, ended, read = threading.Lock(), threading.Event(), []

    def write(emit: Emit) -> None:  # as LlamaCppGenerator does
        with turn:
            if emit(""):
                read.append("a prompt")
        ended.set()

    cancelled_once(monkeypatch, lambda: True)
    began = time.monotonic()
    with turn:  # another's
        assert list(actor_of(lambda _, *, max_tokens, **asked: pump(write, **asked)).stream([], 9, 60.0)) == ["f"]
    assert time.monotonic() - began < 5
    assert ended.wait(10)
    assert read == []
