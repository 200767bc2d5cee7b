"""3: all copies of a shard are lost. What is partial says so, and all is full again within 30 s."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import Mix, traffic
from tests.chaos.parts import kill_shards, pids_of, shard_names, until_shards_are_new
from tests.chaos.without import without
from tests.product import Product, configure, started

ROW = 3
WITHIN_SECONDS = 30.0
TRIES = 4  # a shard can be back before a search gives up waiting for it: then nobody misses it
# Who has five seconds mostly gets a whole answer: the copies are back by then.
MIX = Mix(query=WORD, searchers=3, writers=1, fields={"timeout_seconds": 1})


def killed(product: Product, one: Flock, names: list[str], fault: str, chaos: Chaos) -> int:
    """Kill these and check all promises; how many responses missed them."""
    with traffic(product, one.key, MIX) as history:
        old = pids_of(product, *names)
        since = kill_shards(product, *names)
        until_shards_are_new(product, old)
        history.wait_for_more(30)
    seconds = history.recovery_seconds(since)
    found = one.violations(history)
    chaos.kept(ROW, fault, trials=1, violations=len(found) + (seconds > WITHIN_SECONDS), seconds=seconds)
    assert found == []
    assert seconds < WITHIN_SECONDS
    return len(history.partial())


def test_both_copies(twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    fault, missed, kills = "kill -9 of both copies of a shard", 0, 0
    while kills < chaos.of(1, 5) or (not missed and kills < TRIES):
        missed += killed(twins, flocks(twins), shard_names(twins), fault, chaos)
        kills += 1
    assert missed, "nobody missed the shards: nothing was tested"


@pytest.mark.usefixtures("long_form")
def test_all_shards(product: Product, flocks: Flocks, chaos: Chaos) -> None:
    fault = "kill -9 of all shards"
    missed = [killed(product, flocks(product), shard_names(product), fault, chaos) for _ in range(3)]
    assert any(missed), "nobody missed the shards: nothing was tested"


@pytest.mark.usefixtures("long_form")
def test_without_restarts(tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos) -> None:
    stand_ins = {
        "actors.fleet:MAX_RESTARTS": "tests.chaos.stand_ins:none_at_all",
        "actors.fleet:plan": "tests.chaos.stand_ins:starts_once",
    }
    config = configure(tmp_path_factory.mktemp("once"), {"generator": {"kind": "extractive"}})
    with without(stand_ins), started(config) as product:
        one = flocks(product)
        names = shard_names(product)
        old = pids_of(product, *names)
        with traffic(product, one.key, MIX) as history:
            since = kill_shards(product, *names)
            with pytest.raises(AssertionError):
                until_shards_are_new(product, old, WITHIN_SECONDS)
        seconds = history.recovery_seconds(since)
    chaos.broken(ROW, "kill -9 of all shards", defence="nobody starts an actor again", trials=1,
                 violations=int(seconds > WITHIN_SECONDS - 2), seen=f"still partial after {seconds:.0f} s")  # fmt: skip
