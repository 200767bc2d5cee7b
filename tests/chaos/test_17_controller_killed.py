"""17: the Serve controller is killed. No request fails, not even for a first time, and another one takes its place."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import WORD, Chaos, Flocks
from tests.chaos.history import Mix, final_state, traffic
from tests.chaos.parts import CONTROLLER, GATEWAY, kill, the_only, until_replaced
from tests.product import Product, eventually

ROW = 17
FAULT = "kill -9 of the controller"
MIX = Mix(query=WORD, searchers=3, writers=1)


@pytest.mark.parametrize("name", ["product", "twins"])
def test_no_request_fails(request: pytest.FixtureRequest, name: str, flocks: Flocks, chaos: Chaos) -> None:
    if name == "product" and not chaos.long:
        pytest.skip("long form only: --chaos long")
    running: Product = request.getfixturevalue(name)
    for _ in range(chaos.of(1, 3)):
        one = flocks(running)
        controller = the_only(running, CONTROLLER)
        gateways = {process.pid for process in running.processes(GATEWAY)}
        with traffic(running, one.key, MIX) as history:
            since = kill(controller)
            until_replaced(running, CONTROLLER, controller)
            seconds = time.monotonic() - since
            history.wait_for_more(50)
        found = history.violations(final_state(running, one.tenant, one.key, history))
        count = len(found) + len(history.retried())
        chaos.kept(ROW, FAULT, trials=1, violations=count, seconds=seconds)
        assert (found, history.retried(), history.partial()) == ([], [], [])
        assert {process.pid for process in running.processes(GATEWAY)} == gateways  # it took the living ones over
    if chaos.long:
        replaces_a_replica(running, len(gateways))


def replaces_a_replica(running: Product, wanted: int) -> None:
    """The new one does its work."""
    gateway = running.processes(GATEWAY)[0]
    kill(gateway)
    eventually(lambda: gateway.pid not in {p.pid for p in running.processes(GATEWAY)}, 30, "it is gone")
    eventually(lambda: len(running.processes(GATEWAY)) == wanted, 60, "the new controller replaces it")
    running.wait_until_ready()
