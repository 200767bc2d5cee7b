"""One unattended turn on a real installation: people click, rung 1 learns, they prefer what it learnt, it stays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from cluster.throwaway import environment
from kaizen.evaluation.collection import Collection
from kaizen.evaluation.replay import replay
from kaizen.release import with_parts
from kaizen.retrieval.features import FEATURES
from kaizen.steward.step import NICENESS
from tests.product import Product, configure, eventually, started
from tests.spare_parts import SHOP, ask, calm, custom, fill, make_collection

TURN_SECONDS = 200


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, Collection]]:
    folder = tmp_path_factory.mktemp("shop")
    with started(configure(folder, SHOP)) as product:
        (folder / "collection").mkdir()
        collection = make_collection(folder / "collection")
        fill(product, collection)
        ask(product, collection, sessions=2)
        yield product, collection


def kaizen(product: Product, *arguments: str) -> Any:  # noqa: ANN401 (JSON)
    """What `kaizen ... --json` prints."""
    command = [sys.executable, "-m", "kaizen.cli", *arguments, "--config", str(product.config), "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_turn_from_clicks_to_a_promoted_release(shop: tuple[Product, Collection]) -> None:
    product, collection = shop
    before = product.parts.ledger.rollout.state().stable
    assert kaizen(product, "steward", "status")["turn"] is None
    with custom(product, collection, seed=1, pause=lambda: calm(product)):
        turn = kaizen(product, "steward", "run-once", "--wait", "--timeout-seconds", str(TURN_SECONDS))["turn"]
    print(json.dumps(turn))
    state = product.parts.ledger.rollout.state()
    assert (turn["outcome"], state.previous) == ("promoted", before)
    assert state.stable == turn["candidate"] == turn["attempts"][0]["release"]
    assert [(one["rung"], one["verdict"]) for one in turn["attempts"]] == [(1, "promote")]
    assert turn["attempts"][0]["gain"] > 0.04
    assert 0 < turn["cpu_s"] < 120
    history = kaizen(product, "steward", "history", "--turn", turn["id"])["decisions"]
    assert [one["kind"] for one in history] == [
        "start_turn", "curate", "learn", "promote", "begin", "promote", "keep",
    ]  # fmt: skip
    tested = [one["seq"] for one in history if "online_test" in one["evidence"]]
    assert [replay(product.parts.ledger, seq).same for seq in tested] == [True, True]


@pytest.mark.slow
def test_drift_is_told_from_the_same_people_asking_again(shop: tuple[Product, Collection]) -> None:
    product, collection = shop
    release = product.parts.ledger.impressions.after(0, 1)[0][1].release
    once = len(collection.queries)
    known = ("--release", release, "--after", "0", "--until", str(once))
    again = product.run("jobs.measure_drift", *known, "--since", str(once), "--end", str(2 * once))
    assert {one["signal"]: one["alarm"] for one in again["readings"]} == {
        "queries": False, "scores": False, "no_click": False,
    }  # fmt: skip
    since = product.parts.ledger.impressions.end()
    with product.client() as client:
        for number in range(110):
            client.post("/v1/search", json={"query": f"how do I write letter {number} to the tax office"})
    now = product.parts.ledger.rollout.current() or ""
    bounds = ("--since", str(since), "--end", str(since + 110))
    other = product.run("jobs.measure_drift", "--release", now, "--after", "0", "--until", str(since), *bounds)
    assert {"queries", "no_click"} <= {one["signal"] for one in other["readings"] if one["alarm"]}


@pytest.mark.slow
def test_a_bad_release_that_was_promoted_by_force_goes_back(shop: tuple[Product, Collection]) -> None:
    product, collection = shop
    ledger = product.parts.ledger
    good = ledger.releases.get(ledger.rollout.current() or "")
    upside_down = {"kind": "linear", "features": list(FEATURES), "weights": [-1.0] * len(FEATURES), "depth": 200}
    bad = ledger.releases.record(with_parts(good, ranker=upside_down), parent=good.id).id
    ask(product, collection, sessions=1, seed=7)
    with product.client() as client, custom(product, collection, seed=8):
        response = client.post(f"/v1/releases/{bad}:promote", json={"reason": "By force."})
        assert response.status_code == 200, response.text
        since = ledger.rollout.state()
        eventually(lambda: ledger.rollout.current() == good.id, 60, "it goes back")
    state = ledger.rollout.state()
    impressions = state.since_impression - since.since_impression
    print(f"rolled back after {impressions} impressions and {state.at - since.at:.1f} s")
    assert (state.stable, state.previous) == (good.id, bad)
    assert impressions <= 500
    (last,) = ledger.decisions.newest(1)
    assert (last.by, last.kind, replay(ledger, last.seq).same) == ("steward", "rollback", True)


@pytest.mark.slow
def test_the_step_that_runs_dies_with_the_steward_which_comes_back(shop: tuple[Product, Collection]) -> None:
    product, _ = shop
    (steward,) = product.processes("ray::Steward")
    kaizen(product, "steward", "run-once")
    steps = eventually(
        lambda: [child for child in children(steward) if "kaizen.steward.step" in child.cmdline()], 30, "a step"
    )
    eventually(lambda: steps[0].nice() == min(19, steward.nice() + NICENESS), 10, "it yields the CPU")
    steward.kill()
    eventually(lambda: not any(alive(step) for step in steps), 10, "the step is gone")
    kaizen(product, "steward", "pause")
    again = eventually(lambda: [p for p in product.processes("ray::Steward") if p.pid != steward.pid], 60, "it is back")
    assert len(again) == 1
    kaizen(product, "steward", "resume")
    eventually(lambda: _judged(product), TURN_SECONDS, "the turn goes on to a verdict")


@pytest.mark.slow
def test_a_steward_that_hangs_is_replaced_and_the_status_says_so(shop: tuple[Product, Collection]) -> None:
    product, _ = shop
    assert product.status()["fleet"]["actors"]["steward"] == "serving"
    (steward,) = product.processes("ray::Steward")
    steward.suspend()
    eventually(lambda: not alive(steward), 60, "it is ended")
    again = eventually(lambda: product.processes("ray::Steward"), 60, "it is back")
    assert [one.pid for one in again] != [steward.pid]
    (told,) = kaizen(product, "steward", "status")["decisions"][:1]
    assert (told["by"], told["kind"]) == ("fleet", "replace_steward")
    assert "did not answer" in told["reason"]


def _judged(product: Product) -> bool:
    """Whether the newest turn has judged what it learnt."""
    (turn,) = product.parts.ledger.turns.newest(1)
    return any(one["verdict"] for one in turn.state["attempts"])


def children(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if alive(child)]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
