"""17: the Serve controller is killed. No request fails, not even for a first time, and another one takes its place."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import TWINS, WORD, Chaos, Flocks
from tests.chaos.history import Mix, traffic
from tests.chaos.parts import CONTROLLER, GATEWAY, kill, the_only, until_replaced
from tests.chaos.without import without
from tests.product import Product, configure, eventually, started

ROW = 17
FAULT = "kill -9 of the controller"
MIX = Mix(query=WORD, searchers=3, writers=1)
REPLACED_SECONDS = 60.0


def test_no_request_fails(either: Product, flocks: Flocks, chaos: Chaos) -> None:
    for _ in range(chaos.of(1, 3)):
        one = flocks(either)
        controller = the_only(either, CONTROLLER)
        gateways = {process.pid for process in either.processes(GATEWAY)}
        with traffic(either, one.key, MIX) as history:
            since = kill(controller)
            until_replaced(either, CONTROLLER, controller)
            seconds = time.monotonic() - since
            history.wait_for_more(50)
        found = one.violations(history)
        noticed = history.noticed()
        others = gateways ^ {process.pid for process in either.processes(GATEWAY)}  # it takes the living ones over
        count = len(found) + len(noticed) + len(others)
        chaos.kept(ROW, FAULT, trials=1, violations=count, seconds=seconds)
        assert (found, noticed, others) == ([], [], set())
    if chaos.long:
        with chaos.counted(ROW, FAULT):
            replaces_a_replica(either, len(gateways))


def replaces_a_replica(running: Product, wanted: int) -> None:
    """The new one does its work."""
    gateway = running.processes(GATEWAY)[0]
    kill(gateway)
    eventually(lambda: gateway.pid not in {p.pid for p in running.processes(GATEWAY)}, 30, "it is gone")
    eventually(lambda: len(running.processes(GATEWAY)) == wanted, REPLACED_SECONDS, "the new controller replaces it")
    running.wait_until_ready()


@pytest.mark.usefixtures("long_form")
def test_without_a_successor(tmp_path_factory: pytest.TempPathFactory, chaos: Chaos) -> None:
    """Requests go on, but nobody replaces what is lost next."""
    config = configure(tmp_path_factory.mktemp("last"), TWINS)
    stand_in = {"ray.serve._private.default_impl:get_controller_impl": "tests.chaos.stand_ins:mortal"}
    with without(stand_in), started(config) as product:
        wanted = len(product.processes(GATEWAY))
        kill(the_only(product, CONTROLLER))
        eventually(lambda: not product.processes(CONTROLLER), 30, "it is gone")
        with pytest.raises(AssertionError, match="the new controller replaces it"):
            replaces_a_replica(product, wanted)
    chaos.broken(
        ROW, FAULT, defence="Serve's controller is not started again", trials=1, violations=1,
        seen=f"a replica killed afterwards is not replaced within {REPLACED_SECONDS:.0f} s",
    )  # fmt: skip
