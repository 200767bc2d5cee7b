"""2: a shard hangs (SIGSTOP). The deadline holds, the response is partial and says so, and the fleet replaces it."""

from __future__ import annotations

import time

import psutil

from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, traffic
from tests.chaos.parts import has_ended, pids_of, shard_names, until_shards_are_new
from tests.product import Product, eventually

ROW = 2
FAULT = "SIGSTOP of a shard"
DEADLINE_SECONDS = 1.0
RECOVERED_WITHIN_SECONDS = 30.0
MIX = Mix(query=WORD, searchers=3, fields={"timeout_seconds": DEADLINE_SECONDS})


def late(history: History, chaos: Chaos) -> int:
    """Searches that took longer than their deadline allows: it holds for the search itself, and a machine that is busy
    may need some more to say so."""
    enough = chaos.of(6, 3) * DEADLINE_SECONDS
    return sum(operation.seconds > enough for operation in history.of("search"))


def test_a_shard_hangs(product: Product, flocks: Flocks, chaos: Chaos) -> None:
    chance = chaos.chance("2")
    for _ in range(chaos.of(1, 5)):
        one = flocks(product)
        name = chance.choice(shard_names(product))
        old = pids_of(product, name)
        stopped = psutil.Process(old[name])
        with traffic(product, one.key, MIX) as history:
            stopped.suspend()
            since = time.monotonic()
            eventually(lambda h=history: h.partial(), 30, "a partial answer")  # type: ignore[misc]
            one.write(5)
            until_shards_are_new(product, old, 90)
            history.wait_for_more(30)
        seconds = history.recovery_seconds(since)
        found = one.violations(history)
        slow, still = seconds >= RECOVERED_WITHIN_SECONDS, not has_ended(stopped)
        count = len(found) + late(history, chaos) + slow + still
        chaos.kept(ROW, FAULT, trials=1, violations=count, seconds=seconds)
        assert (found, late(history, chaos), slow, still) == ([], 0, False, False)


def test_a_shard_pauses_and_goes_on(product: Product, flock: Flock, chaos: Chaos) -> None:
    """Shorter than `fleet.hang_seconds`: it is not replaced, and catches up."""
    name = shard_names(product)[0]
    old = pids_of(product, name)
    stopped = psutil.Process(old[name])
    with traffic(product, flock.key, Mix(query=WORD, searchers=3, fields={"timeout_seconds": 0.5})) as history:
        stopped.suspend()
        try:
            eventually(lambda: history.partial(), 30, "a partial answer")
            flock.write(3)
        finally:
            stopped.resume()
        flock.check()
        history.wait_for_more(20)
    found = history.violations()
    chaos.kept(ROW, "SIGSTOP and SIGCONT of a shard", trials=1, violations=len(found))
    assert found == []
    assert pids_of(product, name) == old


def test_without_a_deadline_and_a_replacement(weak_twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    one = flocks(weak_twins)
    name = shard_names(weak_twins)[0]
    old = pids_of(weak_twins, name)
    stopped = psutil.Process(old[name])
    with traffic(weak_twins, one.key, MIX) as history:
        stopped.suspend()
        still = hangs_on(stopped)
        stopped.resume()
    missed = late(history, chaos)
    chaos.broken(ROW, FAULT, defence="no deadline on a call to a shard", trials=1, violations=missed,
                 seen=f"{missed} searches took up to {max(o.seconds for o in history.of('search')):.0f} s")  # fmt: skip
    chaos.broken(ROW, FAULT, defence="the fleet replaces nobody", trials=1, violations=int(still),
                 seen=f"after {RECOVERED_WITHIN_SECONDS:.0f} s the shard hung on")  # fmt: skip


def hangs_on(stopped: psutil.Process) -> bool:
    """Whether it is still there when it should have been replaced."""
    try:
        eventually(lambda: has_ended(stopped), RECOVERED_WITHIN_SECONDS, "it has ended")
    except AssertionError:
        return True
    return False
