"""1: a shard's process is killed during searches. Its other copy answers; without one, what is partial says so."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, traffic
from tests.chaos.model import DURABLE, SAID
from tests.chaos.parts import kill_shards, pids_of, shard_names, until_shards_are_new
from tests.chaos.without import without
from tests.product import Product, configure, eventually, started

ROW = 1
RECOVERED_WITHIN_SECONDS = 30.0
MIX = Mix(query=WORD, searchers=3, writers=1)


def killed(product: Product, flock: Flock, name: str) -> tuple[History, float]:
    """Traffic while one shard's process is killed, until it is back; seconds to the last trouble."""
    with traffic(product, flock.key, MIX) as history:
        old = pids_of(product, name)
        since = kill_shards(product, name)
        flock.write(5)  # what is written while it is down must be there, too
        until_shards_are_new(product, old)
        history.wait_for_more(30)
    return history, history.recovery_seconds(since)


def test_the_only_copy(product: Product, flocks: Flocks, chaos: Chaos) -> None:
    chance = chaos.chance("1 only")
    for _ in range(chaos.of(1, 20)):
        one = flocks(product)
        history, seconds = killed(product, one, chance.choice(shard_names(product)))
        found = one.violations(history)
        slow = seconds >= RECOVERED_WITHIN_SECONDS
        chaos.kept(ROW, "kill -9 of a shard's only copy", trials=1, violations=len(found) + slow, seconds=seconds)
        assert (found, slow) == ([], False)
        assert history.partial(), "the shard was not missed: nothing was tested"
        assert {operation.coverage for operation in history.of("search") if operation.status == 200} == {0.5, 1.0}


def test_one_of_two_copies(twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    """Nobody notices."""
    chance = chaos.chance("1 copy")
    for _ in range(chaos.of(1, 20)):
        one = flocks(twins)
        history, seconds = killed(twins, one, chance.choice(shard_names(twins)))
        missed = history.noticed()
        found = one.violations(history)
        count = len(found) + len(missed)
        chaos.kept(ROW, "kill -9 of one of two copies", trials=1, violations=count, seconds=seconds)
        assert (found, missed) == ([], [])


def test_without_the_other_copy_the_search_is_partial(weak_twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    one = flocks(weak_twins)
    history, _ = killed(weak_twins, one, shard_names(weak_twins)[0])
    lost = len(history.partial())
    chaos.broken(
        ROW,
        "kill -9 of one of two copies",
        defence="a copy that failed is not followed by the other",
        trials=1,
        violations=lost,
        seen=f"{lost} of {len(history.of('search'))} responses partial",
    )


@pytest.mark.usefixtures("long_form")
def test_without_the_flag_nobody_says_what_is_missing(
    tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos
) -> None:
    """The checker finds it by looking for documents that were acknowledged."""
    single = {"fleet": {"shards": 2, "replicas": 1}, "generator": {"kind": "extractive"}}
    config = configure(tmp_path_factory.mktemp("unsaid"), single)
    with without({"actors.fan_out:Gathered.coverage": "tests.chaos.stand_ins:whole"}), started(config) as weak:
        nobody_says(weak, flocks(weak), chaos)


def nobody_says(weak: Product, one: Flock, chaos: Chaos) -> None:
    name = shard_names(weak)[0]
    with traffic(weak, one.key, Mix(query=WORD, searchers=1, writers=2, pause_seconds=0.005)) as history:
        old = pids_of(weak, name)
        for _ in range(3):
            kill_shards(weak, name)
            eventually(lambda: history.violations() or name in weak.shards(), 5, "a search for what is missing")
            until_shards_are_new(weak, old)
            old = pids_of(weak, name)
            if history.violations():
                break
    promises = {violation.promise for violation in history.violations()}
    unsaid = [violation for violation in history.violations() if violation.promise in (DURABLE, SAID)]
    assert promises <= {DURABLE, SAID}
    chaos.broken(
        ROW,
        "kill -9 of a shard's only copy",
        defence="coverage is not reported",
        trials=1,
        violations=len(unsaid),
        seen=f"{len(unsaid)} searches miss what was acknowledged and do not say so",
    )
