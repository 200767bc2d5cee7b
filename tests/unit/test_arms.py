"""A challenger in every kind of trouble, and the user who is answered all the same. The searches are made up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kaizen.errors import InvalidInput, Unavailable, UnknownField
from kaizen.records import Arm, Principal
from kaizen.retrieval.ranked import Ranked
from serve_apps import stopwatch
from serve_apps.arms import Arms, Outcome
from serve_apps.places import Found, Place
from serve_apps.rollout_router import Assigned
from serve_apps.searching import Query
from serve_apps.served import Served
from serve_apps.stopwatch import Stopwatch

CALLER = Principal(key_id="k", tenant="t", groups=(), scopes=("search",))
STABLE, CHALLENGER = (cast(Served, SimpleNamespace(release=SimpleNamespace(id=name))) for name in ("r1", "r2"))
SECONDS = {"r1": 0.2, "r2": 0.2}  # that a search gets of each
Search = Callable[[Query], Any]


def place(release: str, name: str) -> Place:
    item = cast(Ranked, SimpleNamespace(text={"document_id": name, "ordinal": 0}))
    return Place(item=item, terms=(), release=release)


def finds(release: str, names: str, *degraded: str, coverage: float = 1.0) -> Found:
    places = tuple(place(release, name) for name in names)
    return Found(places=places, index_seq=7, coverage=coverage, degraded=degraded, used={release: {}})


class Searches:
    """A searcher of two releases."""

    def __init__(self, challenger: Search) -> None:
        self._challenger = challenger
        self.asked: list[tuple[str, float]] = []

    async def search(self, served: Served, principal: Principal, query: Query, watch: Stopwatch) -> Found:
        name = served.release.id
        self.asked.append((name, query.deadline - time.monotonic()))
        if name == "r1":
            return finds("r1", "abcde")
        found = self._challenger(query)
        return cast(Found, await found if asyncio.iscoroutine(found) else found)


def search(arm: Arm, challenger: Search, impression: str = "imp_1", share: float = 0.0) -> tuple[Outcome, Searches]:
    searches = Searches(challenger)
    arms = Arms(cast(Any, searches), explore_share=share)
    served = CHALLENGER if arm == "challenger" else STABLE
    assigned = Assigned(served=served, arm=arm, rollout=3, stable=STABLE, challenger=CHALLENGER)
    began = time.monotonic()

    def query(served: Served) -> Query:
        seconds = SECONDS[served.release.id]
        return Query(text="q", mode="hybrid", unit="chunk", k=5, condition=None, min_seq=0, deadline=began + seconds)

    return asyncio.run(arms.search(assigned, CALLER, query, Stopwatch(), impression)), searches


def names(outcome: Outcome) -> str:
    return "".join(place.document_id for place in outcome.found.places)


def fail(error: Exception) -> Search:
    def raising(_: Query) -> Found:
        raise error

    return raising


async def hang(query: Query) -> Found:
    await asyncio.sleep(max(0.0, query.deadline - time.monotonic()))
    raise TimeoutError


TROUBLES: list[Search] = [
    fail(Unavailable("down")),
    fail(KeyError("a bug")),
    lambda _: finds("r2", "xyz", "shard-unavailable", coverage=0.5),
    lambda _: finds("r2", "xyz", "embedder-unavailable"),
    hang,
]


@pytest.mark.parametrize("arm", ["challenger", "interleaved"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_stable_release_answers_for_a_challenger_in_trouble(arm: Arm, trouble: Search) -> None:
    outcome, searches = search(arm, trouble)
    assert (names(outcome), outcome.found.coverage, outcome.found.degraded) == ("abcde", 1, ("challenger-unavailable",))
    assert (outcome.served, outcome.arm, outcome.challenger) == (STABLE, "stable", "r2")
    left = dict(searches.asked)
    assert left["r1"] > 0.05  # the challenger may not use up the time
    assert left["r2"] <= 0.1


@pytest.mark.parametrize("arm", ["challenger", "interleaved"])
@pytest.mark.parametrize(("own", "most"), [(0.02, 0.02), (30.0, 0.1)])
def test_a_release_has_the_time_of_its_own_settings(
    arm: Arm, own: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SECONDS, "r2", own)
    left = dict(search(arm, fail(Unavailable("down")))[1].asked)
    assert left["r2"] <= most
    assert 0.1 < left["r1"] <= 0.2


@pytest.mark.parametrize("arm", ["challenger", "interleaved"])
def test_what_is_wrong_with_the_query_is_told_the_caller(arm: Arm) -> None:
    for error in (UnknownField("no such field"), InvalidInput("no")):
        with pytest.raises(type(error)):
            search(arm, fail(error))


def test_each_arm_by_its_own_release() -> None:
    outcome, searches = search("challenger", lambda _: finds("r2", "xyz"))
    assert (names(outcome), outcome.served, outcome.arm, outcome.challenger) == ("xyz", CHALLENGER, "challenger", "")
    assert [name for name, _ in searches.asked] == ["r2"]
    outcome, searches = search("stable", fail(Unavailable("not asked")))
    assert (names(outcome), outcome.served, outcome.arm) == ("abcde", STABLE, "stable")
    assert [name for name, _ in searches.asked] == ["r1"]


def test_a_draft_is_of_both_and_can_be_drawn_again() -> None:
    lists = set()
    for number in range(40):
        outcome, _ = search("interleaved", lambda _: finds("r2", "axyzb"), f"imp_{number}")
        again, _ = search("interleaved", lambda _: finds("r2", "axyzb"), f"imp_{number}")
        assert names(outcome) == names(again)
        assert (outcome.arm, outcome.served, outcome.challenger) == ("interleaved", STABLE, "r2")
        first, *rest = outcome.found.places
        assert (first.document_id, first.team) == ("a", "")  # both rank it first: a click on it says nothing
        for one in rest:
            assert {"stable": "r1", "challenger": "r2"}.get(one.team, one.release) == one.release
        lists.add(names(outcome))
    assert len(lists) > 1  # who drafts first is chance


def test_a_swap_by_chance_is_told_by_its_propensity() -> None:
    orders = set()
    for number in range(30):
        outcome, _ = search("stable", hang, f"imp_{number}", share=1.0)
        propensities = [one.propensity for one in outcome.found.places]
        assert sorted(propensities) == [0.5, 0.5, 1.0, 1.0, 1.0]
        orders.add(names(outcome))
    assert "abcde" in orders
    assert len(orders) > 2


@pytest.mark.parametrize(
    ("seconds", "waits", "told"),
    [((0.3, 0.3), (0.1, 0.2), 100), ((0.3, 0.2), (0.0, 0.2), 0), ((0.2, 0.3), (0.0, 0.3), 100)],
)
def test_what_a_draft_waited_for_a_change_is_what_it_would_have_come_sooner(
    seconds: tuple[float, float], waits: tuple[float, float], told: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now)

    class Waits(Searches):
        async def search(self, served: Served, principal: Principal, query: Query, watch: Stopwatch) -> Found:
            which = ("r1", "r2").index(served.release.id)
            nonlocal now
            with watch.stage("shards"):
                now += seconds[which]
            watch.part("wait", waits[which], of="shards")
            return await super().search(served, principal, query, watch)

    arms, watch = Arms(cast(Any, Waits(lambda _: finds("r2", "xyz"))), explore_share=0.0), Stopwatch()
    assigned = Assigned(served=STABLE, arm="interleaved", rollout=3, stable=STABLE, challenger=CHALLENGER)
    query = Query(text="q", mode="hybrid", unit="chunk", k=5, condition=None, min_seq=9, deadline=time.monotonic() + 10)
    asyncio.run(arms.search(assigned, CALLER, lambda _: query, watch, "imp_1"))
    timings = watch.timings_ms()
    assert timings.get("wait", 0) == pytest.approx(told)
    assert timings["search"] + timings.get("wait", 0) <= timings["total"]
