"""15: ten times as many searches as the installation can answer. All that is refused is 429 with Retry-After, what is
let in comes out in good time, memory does not grow with the demand, and what was acknowledged is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from bench.http_load import Load, Target, at_once, at_rate
from kaizen.errors import Unavailable
from tests.chaos.conftest import TWINS, WORD, Chaos, Flock, Flocks
from tests.chaos.history import Mix, traffic
from tests.chaos.parts import memory_bytes
from tests.chaos.without import without
from tests.product import Product, configure, meanwhile, started

ROW = 15
TIMES = 10
FAULT = "ten times the rate"
STEADY_SHARE = 0.7  # of what it can answer: what one would run it at
RATIO = 2.0
# On a machine that does other things as well, a short measurement is no proof of a ratio.
SHORT_MS = 3000.0
ONSET_SECONDS = 2.0  # what was at work when the rush began has to come out first
CONNECTIONS = 400
MOST_BYTES = 300 * 2**20
MIX = Mix(query=WORD, searchers=0, writers=1, pause_seconds=0.2)


@dataclass(slots=True)
class Seen:
    """The memory of an installation, looked at all the time."""

    before: int
    most: int = 0

    @property
    def growth(self) -> int:
        """Bytes above what it was at first."""
        return max(0, self.most - self.before)


@contextmanager
def memory_of(product: Product) -> Iterator[Seen]:
    seen = Seen(memory_bytes(product))

    def look() -> None:
        seen.most = max(seen.most, memory_bytes(product))

    with meanwhile(look, 0.5):
        yield seen


class Rush:
    """Searches of one caller at several rates."""

    def __init__(self, product: Product, one: Flock) -> None:
        headers = {"Authorization": f"Bearer {one.key}"}
        self._target = Target(url=product.state.url, path="/v1/search", headers=headers)
        self._bodies = [{"query": f"{WORD} called doc-{number}", "timeout_seconds": 20} for number in range(40)]

    def capacity(self, seconds: float) -> float:
        """Searches a second that it answers when asked without pause."""
        at_once(self._target, self._bodies, connections=4, seconds=seconds)
        return at_once(self._target, self._bodies, connections=8, seconds=seconds).rate

    def at(self, rate: float, seconds: float) -> Load:
        """Raises Unavailable for any response that is neither whole nor 429 with Retry-After."""
        return at_rate(self._target, self._bodies, rate=rate, seconds=seconds, connections=CONNECTIONS, refusals=True)


def test_ten_times_what_it_can_answer(twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    one = flocks(twins)
    rush = Rush(twins, one)
    capacity = rush.capacity(chaos.of(2, 5))
    steady = rush.at(STEADY_SHARE * capacity, chaos.of(4, 20))
    with chaos.counted(ROW, FAULT), traffic(twins, one.key, MIX) as history, memory_of(twins) as memory:
        onset = rush.at(TIMES * capacity, ONSET_SECONDS)
        load = rush.at(TIMES * capacity, chaos.of(5, 30))
    steady_ms, ms = steady.quantile_ms(0.99), load.quantile_ms(0.99)
    seen = (
        f"{TIMES} times {capacity:.0f}/s: {len(load.refused_each)} refused, {len(load.seconds_each)} answered "
        f"({load.rate:.0f}/s), p99 {ms:.0f} ms of {steady_ms:.0f} ms steady ({ms / steady_ms:.1f} times; at first "
        f"{onset.quantile_ms(0.99):.0f} ms), {memory.growth / 2**20:.0f} MiB more memory"
    )
    print(seen)
    found = one.violations(history)
    late = ms > chaos.of(max(RATIO * steady_ms, SHORT_MS), RATIO * steady_ms)
    grown = memory.growth > MOST_BYTES
    count = len(load.refused_each) + len(onset.refused_each)
    chaos.kept(ROW, seen if chaos.long else FAULT, trials=count, violations=int(late) + int(grown) + len(found))
    assert found == []
    assert count > len(load.seconds_each), "too few were refused: this was no overload"
    assert load.rate > chaos.of(0.1, 0.2) * capacity, "refusing costs more than answering"
    assert not grown, seen
    assert not late, seen


@pytest.mark.usefixtures("long_form")
def test_without_a_bound(tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos) -> None:
    stand_ins = {
        "serve_apps.admission:Admission.slot": "tests.chaos.stand_ins:everybody",
        "serve_apps.admission:Admission.rush": "tests.chaos.stand_ins:never",
    }
    config = configure(tmp_path_factory.mktemp("open"), TWINS)
    with without(stand_ins), started(config) as product:
        rush = Rush(product, flocks(product))
        capacity = rush.capacity(3)
        steady = rush.at(STEADY_SHARE * capacity, 10).quantile_ms(0.99)
        try:
            ms = rush.at(TIMES * capacity, 4).quantile_ms(0.99)
            seen = f"p99 {ms:.0f} ms of {steady:.0f} ms steady"
        except Unavailable as error:
            ms, seen = float("inf"), f"neither an answer nor 429: {error.message[:80]}"
    chaos.broken(
        ROW,
        FAULT,
        defence="no admission control",
        trials=1,
        violations=int(ms > RATIO * steady),
        seen=seen,
    )
