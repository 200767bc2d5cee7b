"""18: Ray's GCS is killed, or the head with it. Serving goes on while it can, and a restart heals.

The GCS is started again by itself. The head is what ends everything when it ends; `kaizen up` starts it all again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.ingress import free_ports
from cluster.throwaway import environment
from tests.chaos.conftest import TWINS, WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, traffic
from tests.chaos.model import FAILED
from tests.chaos.parts import (
    GATEWAY,
    gcs_answers,
    gcs_servers,
    has_ended,
    kill,
    kill_shards,
    pids_of,
    proxies,
    shard_names,
    until_replaced,
    until_shards_are_new,
)
from tests.chaos.without import without
from tests.product import Product, configure, eventually, installation_at, started

ROW = 18
GCS_KILLED, HEAD_KILLED = "kill -9 of the GCS", "kill -9 of the head, then `kaizen up`"
MIX = Mix(query=WORD, searchers=3, writers=1, pause_seconds=0.05)
PATIENT_MIX = replace(MIX, pause_seconds=0.2)  # for half a minute nobody answers
# Ray's processes wait so long for a GCS. With another one, nothing ends then; without, everything.
RAYS_PATIENCE_SECONDS = 60.0


def gcs_killed(product: Product, one: Flock, seconds: float) -> tuple[History, float]:
    """Traffic while the GCS is killed, another one answers in its place, and time goes by; seconds until it did."""
    with traffic(product, one.key, MIX) as history:
        (gcs,) = gcs_servers(product)
        since = kill(gcs)
        eventually(lambda: gcs not in gcs_servers(product) and gcs_answers(product), 30, "another GCS answers")
        back = time.monotonic() - since
        history.wait_for_more(50)
        while time.monotonic() - since < seconds:
            history.wait_for_more(50)
    return history, back


@pytest.mark.timeout(1200)
def test_the_gcs(either: Product, flocks: Flocks, chaos: Chaos) -> None:
    """Nobody notices, and what is lost next is replaced as ever."""
    for trial in range(chaos.of(1, 3)):
        one = flocks(either)
        with chaos.counted(ROW, GCS_KILLED):
            history, seconds = gcs_killed(either, one, RAYS_PATIENCE_SECONDS + 15 if chaos.long and trial == 0 else 0)
            replaces(either, also_gateways=chaos.long)
            found = one.violations(history)
        # A busy machine may cost a second try: the short form, which runs on any, lets that pass.
        noticed = history.noticed() if chaos.long else history.partial() + history.degraded()
        chaos.kept(ROW, GCS_KILLED, trials=1, violations=len(found) + len(noticed), seconds=seconds)
        assert (found, noticed) == ([], [])


def replaces(running: Product, *, also_gateways: bool) -> None:
    """The new GCS does its work: who is killed now is started again."""
    old = pids_of(running, shard_names(running)[0])
    kill_shards(running, *old)
    until_shards_are_new(running, old)
    if also_gateways:
        gateways = running.processes(GATEWAY)
        kill(gateways[0])
        until_replaced(running, GATEWAY, gateways[0], wanted=len(gateways))


@pytest.mark.usefixtures("long_form")
def test_without_another_gcs_all_ends(tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos) -> None:
    config = configure(tmp_path_factory.mktemp("gone"), TWINS)
    with without({"cluster.kept_gcs:keep_gcs": "tests.chaos.stand_ins:nobody"}), started(config) as product:
        gateways, head = product.processes(GATEWAY), psutil.Process(product.state.pid)
        since = kill(*gcs_servers(product))
        eventually(lambda: has_ended(head) and all(map(has_ended, gateways)), 120, "all has ended")
        seconds = time.monotonic() - since
    chaos.broken(
        ROW, GCS_KILLED, defence="the GCS is started again", trials=1, violations=1,
        seen=f"after {seconds:.0f} s the head and all gateways had ended",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- the head


def kaizen(config: Path, command: str) -> dict[str, Any]:
    """What a command of the CLI tells with --json."""
    line = [sys.executable, "-P", "-m", "kaizen.cli", command, "--json", "--config", str(config)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=400)
    if done.returncode:
        raise AssertionError(f"kaizen {command}: {done.stdout[-1000:]} {done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def head_killed(product: Product, key: str, meanwhile: Callable[[], object]) -> tuple[History, float]:
    """Traffic while the head is killed and `meanwhile` does what heals that; seconds until all was well again."""
    with traffic(product, key, PATIENT_MIX) as history:
        since = kill(psutil.Process(product.state.pid))
        meanwhile()
        with product.client() as client:  # at the same address as before
            eventually(lambda: client.get("/readyz").status_code == 200, 120, "ready")
        ready = time.monotonic()
        eventually(lambda: history.is_well(ready), 60, "all is well")
        history.wait_for_more(50)
    return history, history.recovery_seconds(since)


def at_a_port(folder: Path, port: int) -> Path:
    """Whoever starts it again finds it at the same address, which must be free."""
    server: Mapping[str, Any] = {"ingress": "haproxy", "port": port}
    return configure(folder, {**TWINS, "server": server})


@pytest.mark.usefixtures("long_form")
@pytest.mark.timeout(900)
def test_the_head(tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos) -> None:
    """Nothing answers until it is started again; then all that was acknowledged is there."""
    config = at_a_port(tmp_path_factory.mktemp("head"), free_ports(1)[0])
    with started(config) as product:
        one, now = flocks(product), product
        try:
            for _ in range(3):
                history, seconds = head_killed(now, one.key, lambda: kaizen(config, "up"))
                now = replace(product, state=installation_at(config).state)
                found = one.violations(history)
                broken = [violation for violation in found if violation.promise != FAILED]
                chaos.kept(ROW, HEAD_KILLED, trials=1, violations=len(broken), seconds=seconds)
                assert broken == []
        finally:
            kaizen(config, "down")


@pytest.mark.usefixtures("long_form")
def test_haproxy_that_outlives_its_head_has_the_port(tmp_path_factory: pytest.TempPathFactory, chaos: Chaos) -> None:
    """The GCS is killed and not started again: everything ends, and HAProxy has nobody who ends it."""
    config = at_a_port(tmp_path_factory.mktemp("orphan"), free_ports(1)[0])
    off = {
        "cluster.kept_gcs:keep_gcs": "tests.chaos.stand_ins:nobody",
        "kaizen.fate:end_with": "tests.chaos.stand_ins:nothing_happens",
    }
    with without(off), started(config) as product:
        (haproxy,) = proxies(product)
        head = psutil.Process(product.state.pid)
        kill(*gcs_servers(product))
        eventually(lambda: has_ended(head), 120, "the head has ended")
        try:
            seen = "nothing"
            if not has_ended(haproxy):
                with product.client() as client:
                    seen = f"it answers {client.get('/readyz').status_code}"
        finally:
            if not has_ended(haproxy):
                haproxy.kill()
    chaos.broken(
        ROW, HEAD_KILLED, defence="HAProxy ends with who started it", trials=1, violations=int(seen != "nothing"),
        seen=seen,
    )  # fmt: skip
