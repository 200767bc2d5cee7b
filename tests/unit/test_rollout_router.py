"""What a replica answers with while releases come, fail to come, and go. Opening is made up; the following is real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from kaizen.errors import BadModel, Unavailable
from kaizen.records import Principal, Release, Rollout
from serve_apps import rollout_router
from serve_apps.rollout_router import Assigned, RolloutRouter

CALLER = Principal(key_id="k", tenant="t", groups=(), scopes=("search",))


@dataclass(slots=True, eq=False)
class Opened:
    release: Release


@dataclass(slots=True)
class World:
    """The ledger's row, and which releases can be opened and have caught up."""

    row: Rollout = field(default_factory=lambda: Rollout(version=1, stable="r1"))
    up: set[str] = field(default_factory=lambda: {"r1"})
    broken: dict[str, Exception] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def router(self) -> RolloutRouter:
        return RolloutRouter(lambda: self.row, cast(Any, self.open), cast(Any, self.caught_up))

    def open(self, name: str) -> Opened:
        self.opened.append(name)
        if name in self.broken:
            raise self.broken[name]
        return Opened(Release(id=name, number=1, at=0, fingerprint="", parts={}, parent=None))

    async def caught_up(self, served: Opened) -> bool:
        return served.release.id in self.up


def runs(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[pytest.MonkeyPatch], None]:
    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rollout_router, "RETRY_SECONDS", (0.001,))
        monkeypatch.setattr(rollout_router, "WAIT_SECONDS", 0.001)
        monkeypatch.setattr(rollout_router, "FIRST_SECONDS", 0.02)
        asyncio.run(test(World()))

    return run


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


def who(router: RolloutRouter, user: str = "") -> tuple[str, str, int]:
    assigned: Assigned = router.for_caller(CALLER, user, "imp_1")
    return assigned.served.release.id, assigned.arm, assigned.rollout


async def begun(world: World) -> RolloutRouter:
    router = world.router()
    with pytest.raises(Unavailable):
        router.for_caller(CALLER)
    await router.first()
    assert who(router) == ("r1", "stable", 1)
    return router


async def changed(router: RolloutRouter, world: World, **row: Any) -> None:  # noqa: ANN401
    world.row = Rollout(version=world.row.version + 1, **row)
    await router.look()


@runs
async def test_a_promoted_release_answers_when_it_is_ready_and_not_before(world: World) -> None:
    router = await begun(world)
    held = router.for_caller(CALLER)
    await changed(router, world, stable="r2", previous="r1")
    await until(lambda: "r2" in router.trouble)  # it was tried, and waits for its index
    assert who(router) == ("r1", "stable", 0)
    assert router.standing() == {"r2": "r2 waits for its actors and its index", "r1": "serving"}
    world.up.add("r2")
    await until(lambda: who(router) == ("r2", "stable", 2))
    assert router.trouble == ""
    assert held.served.release.id == "r1"  # a request under way goes on with what it holds
    await changed(router, world, stable="r1", previous="r2")  # and back: warm, so at once
    assert who(router) == ("r1", "stable", 3)
    assert world.opened == ["r1", "r2"]


@runs
async def test_a_challenger_takes_part_when_it_is_ready(world: World) -> None:
    router = await begun(world)
    await changed(router, world, stable="r1", challenger="r2", mode="ab", weight=1.0)
    await until(lambda: "r2" in router.trouble)
    assert who(router) == ("r1", "stable", 0)  # no part of the test: the replica lacks a side
    world.up.add("r2")
    await until(lambda: who(router) == ("r2", "challenger", 2))
    await changed(router, world, stable="r1", challenger="r2", mode="shadow", weight=1.0)
    assigned = router.for_caller(CALLER, "", "imp_1")
    assert (assigned.arm, assigned.shadow is not None) == ("stable", True)
    await changed(router, world, stable="r1", challenger="r2", mode="interleave", weight=1.0)
    assigned = router.for_caller(CALLER, "", "imp_1")
    assert (assigned.served.release.id, assigned.arm) == ("r1", "interleaved")
    assert assigned.challenger is not None
    assert assigned.challenger.release.id == "r2"
    await changed(router, world, stable="r1")
    assert who(router) == ("r1", "stable", 5)
    assert [served.release.id for served in router.warm()] == ["r1"]


@runs
async def test_a_challenger_that_is_dropped_answers_no_more_while_the_next_stable_one_loads(world: World) -> None:
    world.up.add("r2")
    router = await begun(world)
    await changed(router, world, stable="r1", challenger="r2", mode="ab", weight=1.0)
    await until(lambda: who(router)[0] == "r2")
    await changed(router, world, stable="r3", previous="r1")
    assert who(router) == ("r1", "stable", 0)


@runs
async def test_who_lags_two_promotions_behind_takes_what_is_kept_warm(world: World) -> None:
    world.up.add("r2")
    router = await begun(world)
    await changed(router, world, stable="r2", previous="r1")
    await until(lambda: who(router)[0] == "r2")
    await changed(router, world, stable="r3", previous="r4")  # neither is ready; r2 is all there is
    await until(lambda: "r3" in router.trouble and "r4" in router.trouble)
    assert who(router) == ("r2", "stable", 0)
    world.up.add("r4")
    await until(lambda: who(router) == ("r4", "stable", 0))
    assert {served.release.id for served in router.warm()} == {"r4"}


@runs
async def test_no_error_ends_the_following(world: World) -> None:
    router = await begun(world)
    row, world.row = world.row, cast(Rollout, None)  # reading it gives nonsense
    following = asyncio.create_task(router.follow())
    await until(lambda: "cannot be read" in router.trouble)
    assert who(router) == ("r1", "stable", 1)
    world.row = row
    world.broken = {"r2": KeyError("embedder"), "r3": BadModel("torn")}
    world.up |= {"r2", "r3"}
    await changed(router, world, stable="r2", previous="r3", challenger="r1", mode="ab", weight=0.5)
    await until(lambda: "KeyError" in router.trouble and "torn" in router.trouble)
    assert who(router)[0] == "r1"
    world.broken = {}
    await until(lambda: router.stable == "r2")
    assert not following.done()
    following.cancel()
    await router.close()


@runs
async def test_a_fresh_replica_does_not_wait_for_ever(world: World) -> None:
    world.up = set()
    router = world.router()
    await router.first()
    assert who(router) == ("r1", "stable", 0)  # with the shards that there are
    world.up = {"r1"}
    await until(lambda: who(router) == ("r1", "stable", 1))
    world = World(row=Rollout(version=4, stable="r3", previous="r2"), up=set())
    router = world.router()
    await router.first()
    assert who(router) == ("r3", "stable", 0)
    world.up = {"r2"}
    await until(lambda: who(router) == ("r2", "stable", 0))  # what is whole is better than what is not
    world.up = {"r2", "r3"}
    await until(lambda: who(router) == ("r3", "stable", 4))
    nothing = World(broken={"r1": BadModel("torn")}).router()
    await nothing.first()  # returns: the replica must start, to say what is wrong
    assert not nothing.ready
    await nothing.close()
