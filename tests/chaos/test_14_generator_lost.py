"""14: the generator is slow, hangs or dies. Before the deadline there is an answer in the documents' own words, and who
searches and writes meanwhile notices nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import Mix, traffic
from tests.chaos.parts import GENERATOR, kill, the_only, until_replaced
from tests.product import Product, meanwhile

ROW = 14
LIGHTHOUSE = "The lighthouse is 43 metres high."
ASKED = "How high is the lighthouse?"
EXTRACT = f"{LIGHTHOUSE} [1]"
DEADLINE_SECONDS = 2.0
MIX = Mix(query=WORD, searchers=1, writers=1, pause_seconds=0.1)


def answer(flock: Flock, seconds: float) -> dict[str, Any]:
    """The answer to ASKED within `seconds`."""
    response = flock.client.post("/v1/answer", json={"question": ASKED, "timeout_seconds": seconds}, timeout=90)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def answered_within(chaos: Chaos) -> float:
    """The deadline holds; a machine that is busy may need some more seconds to say so."""
    return chaos.of(4, 2) * DEADLINE_SECONDS


@pytest.fixture
def told(flock: Flock) -> Flock:
    """Documents that hold the answer."""
    flock.client.put("/v1/documents/fact?wait_for=searchable", json={"text": LIGHTHOUSE})
    return flock


@contextmanager
def slowed(process: psutil.Process, share: float) -> Iterator[None]:
    """A process that runs only this share of the time; in turns of a second, since a busy machine stops it too late."""

    def stop() -> None:
        process.suspend()
        threading.Event().wait(1 - share)
        process.resume()

    with meanwhile(stop, share):
        yield


@contextmanager
def others(product: Product, one: Flock, chaos: Chaos, fault: str) -> Iterator[None]:
    """A trial, while others search and write: none of them notices, and what was acknowledged is there."""
    with chaos.counted(ROW, fault):
        with traffic(product, one.key, MIX) as history:
            yield
        assert (one.violations(history), history.noticed()) == ([], [])


def test_killed_while_it_writes(product: Product, told: Flock, chaos: Chaos) -> None:
    body = {"question": ASKED, "stream": True, "timeout_seconds": 60}
    for _ in range(chaos.of(1, 5)):
        generator = the_only(product, GENERATOR)
        with others(product, told, chaos, fault := "kill -9 while it writes"):
            with told.client.stream("POST", "/v1/answer", json=body, timeout=90) as response:
                lines = response.iter_lines()
                assert "event: delta" in lines  # reads up to the first one
                since = kill(generator)
                final = json.loads([line for line in lines if line][-1].removeprefix("data: "))
            assert (final["answer"], final["degraded"]) == (EXTRACT, ["generator-unavailable"])
            until_replaced(product, GENERATOR, generator)
            seconds = time.monotonic() - since
            assert set(answer(told, seconds=60)["degraded"]) <= {"ungrounded"}
        chaos.kept(ROW, fault, trials=1, seconds=seconds)


def test_it_hangs(product: Product, told: Flock, chaos: Chaos) -> None:
    """The deadline holds, and the fleet replaces it."""
    for _ in range(chaos.of(1, 3)):
        generator = the_only(product, GENERATOR)
        with others(product, told, chaos, fault := "SIGSTOP"):
            generator.suspend()
            since = time.monotonic()
            found = answer(told, DEADLINE_SECONDS)
            spent = time.monotonic() - since
            assert (found["answer"], found["degraded"]) == (EXTRACT, ["generator-timeout"])
            assert spent < answered_within(chaos)
            until_replaced(product, GENERATOR, generator)
            seconds = time.monotonic() - since
            assert set(answer(told, seconds=60)["degraded"]) <= {"ungrounded"}
        chaos.kept(ROW, fault, trials=1, seconds=seconds)


def test_it_is_slow(product: Product, told: Flock, chaos: Chaos) -> None:
    """A fiftieth of its speed: it answers pings, so nobody replaces it."""
    asked = chaos.of(1, 10)
    generator = the_only(product, GENERATOR)
    with others(product, told, chaos, fault := "a fiftieth of its speed"):
        with slowed(generator, 0.02):
            for _ in range(asked):
                since = time.monotonic()
                found = answer(told, DEADLINE_SECONDS)
                assert (found["answer"], found["degraded"]) == (EXTRACT, ["generator-timeout"])
                assert time.monotonic() - since < answered_within(chaos)
        assert set(answer(told, seconds=60)["degraded"]) <= {"ungrounded"}
        assert the_only(product, GENERATOR).pid == generator.pid
    chaos.kept(ROW, fault, trials=asked)


def test_without_a_deadline_for_it(weak_twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    one = flocks(weak_twins)
    one.client.put("/v1/documents/fact?wait_for=searchable", json={"text": LIGHTHOUSE})
    generator = the_only(weak_twins, GENERATOR)
    generator.suspend()
    waking = threading.Timer(answered_within(chaos) + 2, generator.resume)
    waking.start()
    since = time.monotonic()
    answer(one, DEADLINE_SECONDS)
    spent = time.monotonic() - since
    waking.join()
    chaos.broken(ROW, "SIGSTOP", defence="the gateway waits for the generator without a deadline", trials=1,
                 violations=int(spent > answered_within(chaos)),
                 seen=f"an answer after {spent:.1f} s of {DEADLINE_SECONDS:.0f} s")  # fmt: skip
