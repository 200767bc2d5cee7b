"""Random faults, one after the other, under mixed traffic: searches, questions, writes, deletions, judgements."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

import psutil
import pytest

from tests.chaos.conftest import TWINS, WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, recorded_releases, traffic
from tests.chaos.model import FAILED
from tests.chaos.parts import (
    CONTROLLER,
    EMBEDDER,
    FLEET,
    GATEWAY,
    GENERATOR,
    kill,
    kill_shards,
    pids_of,
    proxies,
    shard_names,
    until_replaced,
    until_shards_are_new,
)
from tests.chaos.releases import variant
from tests.chaos.report import MIXED
from tests.product import Product, configure, eventually, started

SUCCESS = 0.999
# Who finds nobody at the other end tries once more after this time; any other failure is tried again at once.
MIX = Mix(
    query=WORD, question=f"Where does the {WORD} stand?", searchers=2, writers=1, askers=1, pause_seconds=0.1,
    retry_seconds=6.0, explain=True,
)  # fmt: skip
Fault = Callable[[Product, Random], None]


def _killed(title: str) -> Fault:
    def do(product: Product, chance: Random) -> None:
        running = product.processes(title)
        victim = chance.choice(running)
        kill(victim)
        until_replaced(product, title, victim, wanted=len(running))

    return do


def _hung(title: str) -> Fault:
    def do(product: Product, _: Random) -> None:
        product.wait_until_ready()  # who is starting may be silent for minutes: to stop it then is another fault
        victim = product.processes(title)[0]
        victim.suspend()
        until_replaced(product, title, victim)

    return do


def _shards_killed(count: int | None) -> Fault:
    """`count` of them, chosen at random; None: all."""

    def do(product: Product, chance: Random) -> None:
        names = shard_names(product)
        chosen = chance.sample(names, count or len(names))
        old = pids_of(product, *chosen)
        kill_shards(product, *chosen)
        until_shards_are_new(product, old)

    return do


def _shard_hung(product: Product, chance: Random) -> None:
    product.wait_until_ready()
    name = chance.choice(shard_names(product))
    old = pids_of(product, name)
    psutil.Process(old[name]).suspend()
    until_shards_are_new(product, old, 90)


def _proxy_killed(product: Product, chance: Random) -> None:
    kill(chance.choice(proxies(product)))
    with product.client(seconds=5) as client:
        eventually(lambda: client.get("/healthz").status_code == 200, 60, "the proxy is back")
    product.wait_until_ready()


def _swapped(product: Product, _: Random) -> None:
    """Another release, and back."""
    with product.client() as client:
        client.post(f"/v1/releases/{variant(product, 'mixed')}:promote", json={}).raise_for_status()
        product.wait_until_ready()
        client.post("/v1/rollback", json={}).raise_for_status()
    product.wait_until_ready()


SHORT_FAULTS: dict[str, Fault] = {
    "a gateway replica is killed": _killed(GATEWAY),
    "the fleet is killed": _killed(FLEET),
    "the embedder is killed": _killed(EMBEDDER),
}
LONG_FAULTS: dict[str, Fault] = {
    **SHORT_FAULTS,
    "a shard is killed": _shards_killed(1),
    "two shards are killed": _shards_killed(2),
    "all shards are killed": _shards_killed(None),
    "a shard hangs": _shard_hung,
    "the generator is killed": _killed(GENERATOR),
    "the generator hangs": _hung(GENERATOR),
    "the controller is killed": _killed(CONTROLLER),
    "the proxy is killed": _proxy_killed,
    "a swap and a rollback": _swapped,
}


def run(product: Product, key: str, chaos: Chaos, faults: dict[str, Fault], order: Iterable[str]) -> History:
    """Traffic while one fault after the other happens and is mended."""
    chance = chaos.chance("mixed victims")
    with traffic(product, key, MIX) as history:
        for name in order:
            since, before = time.monotonic(), len(history.failed())
            faults[name](product, chance)
            threading.Event().wait(1)
            failed = history.failed()[before:]
            how = [(operation.kind, operation.first_status, operation.status) for operation in failed]
            print(f"{name}: {time.monotonic() - since:.1f} s, failed {how}", flush=True)
        history.wait_for_more(30)
    return history


def judge(one: Flock, history: History, chaos: Chaos, faults: Sequence[str]) -> None:
    """Success is high enough; and of the promises that hold for every operation not one is broken."""
    found = one.violations(history, recorded_releases(one.product))
    failed = len(history.failed())
    others = [violation for violation in found if violation.promise != FAILED]
    operations, again = len(history.of()), len(history.retried())
    seen = f"{operations} operations, {failed} failed, {again} tried twice, success {100 * history.success():.3f} %"
    print(seen)
    label = f"{', '.join(sorted(set(faults)))}: {seen}"
    chaos.kept(MIXED, label, trials=len(faults), violations=len(found))
    assert others == []
    assert history.success() >= SUCCESS


def test_a_part_after_the_other(product: Product, flocks: Flocks, chaos: Chaos) -> None:
    one = flocks(product)
    first = "a gateway replica is killed"
    order = [first, chaos.chance("mixed").choice(sorted(SHORT_FAULTS.keys() - {first}))]
    history = run(product, one.key, chaos, SHORT_FAULTS, order)
    judge(one, history, chaos, order)


@pytest.mark.usefixtures("long_form")
@pytest.mark.timeout(3600)
def test_half_an_hour(tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos) -> None:
    config = configure(
        tmp_path_factory.mktemp("mixed"), {"server": TWINS["server"], "fleet": {"shards": 2, "replicas": 2}}
    )
    with started(config) as product:
        one = flocks(product)
        done: list[str] = []
        history = run(product, one.key, chaos, LONG_FAULTS, _drawn(chaos, done))
        judge(one, history, chaos, done)


def _drawn(chaos: Chaos, done: list[str]) -> Iterator[str]:
    """Names of faults until the time is over; what was drawn is added to `done`."""
    chance, end = chaos.chance("mixed long"), time.monotonic() + 60 * chaos.minutes
    while time.monotonic() < end:
        done.append(chance.choice(sorted(LONG_FAULTS)))
        yield done[-1]
