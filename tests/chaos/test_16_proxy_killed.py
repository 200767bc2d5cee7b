"""16: what accepts HTTP is killed: Serve's own proxy, or HAProxy. It is back within 5 s."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import pytest

from tests.chaos.conftest import TWINS, WORD, Chaos, Flock, Flocks
from tests.chaos.history import Mix, traffic
from tests.chaos.model import FAILED, Violation
from tests.chaos.parts import HAPROXY_MANAGER, kill, proxies, the_only
from tests.chaos.without import without
from tests.product import Product, configure, eventually, started

ROW = 16
WITHIN_SECONDS = 5.0
MIX = Mix(query=WORD, searchers=2, writers=1, pause_seconds=0.05)


def outage(product: Product, one: Flock, victim: psutil.Process, patience: float = 60) -> tuple[float, list[Violation]]:
    """Kill it under traffic; seconds until the last failure, and broken promises other than the failures."""
    with traffic(product, one.key, MIX) as history:
        since = kill(victim)
        with product.client(seconds=5) as client:
            eventually(lambda: client.get("/healthz").status_code == 200, patience, "it is back")
        back = time.monotonic()  # but it may know the way to no gateway yet, and say 404 for some more seconds
        eventually(lambda: history.is_well(back), patience, "all is well")
    astray = sum(each.status == 404 and not each.routed for each in history.of())
    print(f"{astray} of {len(history.failed())} failures were a proxy's 404")
    found = one.violations(history)
    return history.recovery_seconds(since), [violation for violation in found if violation.promise != FAILED]


def manager(product: Product) -> psutil.Process:
    """The actor of Serve that starts HAProxy, which ends with it."""
    return the_only(product, HAPROXY_MANAGER)


def newest(product: Product) -> psutil.Process:
    """Who lets callers in: an older HAProxy may still serve whom it had when its configuration changed."""
    return max(proxies(product), key=lambda process: process.create_time())


@pytest.mark.parametrize(
    ("name", "fault", "victim"),
    [
        ("product", "kill -9 of Serve's proxy", newest),
        ("twins", "kill -9 of HAProxy", newest),
        ("twins", "kill -9 of what starts HAProxy", manager),
    ],
)
def test_it_is_back(
    request: pytest.FixtureRequest,
    name: str,
    fault: str,
    victim: Callable[[Product], psutil.Process],
    flocks: Flocks,
    chaos: Chaos,
) -> None:
    running: Product = request.getfixturevalue(name)
    for _ in range(chaos.of(1, 5)):
        seconds, broken = outage(running, flocks(running), victim(running))
        slow = seconds >= chaos.of(3, 1) * WITHIN_SECONDS  # a machine that is busy needs some more
        chaos.kept(ROW, fault, trials=1, violations=len(broken) + slow, seconds=seconds)
        assert (broken, slow) == ([], False)


@pytest.mark.usefixtures("long_form")
@pytest.mark.parametrize("ingress", ["proxy", "haproxy"])
def test_without_looking_every_second(
    tmp_path_factory: pytest.TempPathFactory, ingress: str, flocks: Flocks, chaos: Chaos
) -> None:
    config = configure(tmp_path_factory.mktemp("slow"), {**TWINS, "server": {"ingress": ingress}})
    off = {
        "cluster.ingress:PROXY_HEALTH": "tests.chaos.stand_ins:serves_own_pace",
        "cluster.kept_haproxy:keep_haproxy": "tests.chaos.stand_ins:nothing_happens",
    }
    with without(off), started(config) as product:
        seconds, _ = outage(product, flocks(product), newest(product), patience=120)
    chaos.broken(ROW, f"kill -9, {ingress}", defence=f"Serve's own pace of health checks ({ingress})", trials=1,
                 violations=int(seconds > WITHIN_SECONDS), seen=f"{seconds:.1f} s out")  # fmt: skip
