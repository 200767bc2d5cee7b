"""12: sixteen processes change the rollout at once, each from the same version: one wins, the others get 409, and who
searches and writes meanwhile notices nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest

from kaizen.records import Rollout
from tests.chaos.conftest import WORD, Chaos, Flocks
from tests.chaos.history import Mix, recorded_releases, traffic
from tests.chaos.releases import variant
from tests.product import Product

ROW = 12
FAULT = "16 processes, one version"
WRITERS = 16
MIX = Mix(query=WORD, searchers=2, writers=1, pause_seconds=0.05, explain=True)
# A process of its own that changes the weight whenever it is told to, and says what came of it.
WRITER = """
import json, sys, urllib.error, urllib.request
url, key = sys.argv[1:]
print("ready", flush=True)
for line in sys.stdin:
    headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
    request = urllib.request.Request(url + "/v1/rollout", line.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            print(response.status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
"""


@contextmanager
def writers(product: Product) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-I", "-c", WRITER, product.state.url, product.key]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(WRITERS)
        ]
        stack.callback(lambda: [process.kill() for process in started])
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started


def raced(started: list[subprocess.Popen[str]], version: int) -> dict[float, int]:
    """Let all change version `version` at once; weight that each wanted -> status that each got."""
    wanted = [round(0.01 * (number + 1) + 0.2 * (version % 3), 3) for number in range(len(started))]
    for process, weight in zip(started, wanted, strict=True):
        body = {"action": "adjust", "mode": "ab", "weight": weight, "version": version, "reason": "a race"}
        assert process.stdin is not None
        process.stdin.write(json.dumps(body) + "\n")
        process.stdin.flush()
    statuses = [int(process.stdout.readline()) for process in started if process.stdout is not None]
    return dict(zip(wanted, statuses, strict=True))


@pytest.fixture
def challenged(request: pytest.FixtureRequest) -> Iterator[Product]:
    """A product with a challenger that needs no actors of its own."""
    product: Product = request.getfixturevalue(request.param)
    with product.client() as client:
        begin = {"action": "begin", "challenger": variant(product, "a race"), "mode": "ab", "weight": 0.5}
        for change in (begin, {"action": "stop"}):
            version = client.get("/v1/rollout").raise_for_status().json()["version"]
            client.post("/v1/rollout", json={**change, "version": version}).raise_for_status()
            if change is begin:
                yield product


def told_right(before: Rollout, statuses: Mapping[float, int], after: Rollout) -> bool:
    """Whether one won, and what holds now is what that one wanted."""
    one = Counter(statuses.values()) == {200: 1, 409: WRITERS - 1}
    return one and after.version == before.version + 1 and statuses.get(after.weight) == 200


@pytest.mark.parametrize("challenged", ["product"], indirect=True)
def test_one_wins(challenged: Product, flocks: Flocks, chaos: Chaos) -> None:
    rounds, wrong, one = chaos.of(3, 50), 0, flocks(challenged)
    with writers(challenged) as started, traffic(challenged, one.key, MIX) as history:
        for _ in range(rounds):
            before = challenged.parts.ledger.rollout.state()
            statuses = raced(started, before.version)
            wrong += not told_right(before, statuses, challenged.parts.ledger.rollout.state())
        history.wait_for_more(20)
    found = one.violations(history, recorded_releases(challenged))
    noticed = history.noticed()
    chaos.kept(ROW, FAULT, trials=rounds, violations=wrong + len(found) + len(noticed))
    assert wrong == 0
    assert (found, noticed) == ([], [])


@pytest.mark.parametrize("challenged", ["weak_twins"], indirect=True)
def test_without_comparing_several_win(challenged: Product, chaos: Chaos) -> None:
    most = 0
    with writers(challenged) as started:
        for _ in range(20):
            statuses = raced(started, challenged.parts.ledger.rollout.state().version)
            most = max(most, Counter(statuses.values())[200])
            if most > 1:
                break
    chaos.broken(
        ROW,
        FAULT,
        defence="the version is not compared in the write",
        trials=1,
        violations=most - 1,
        seen=f"{most} of {WRITERS} won",
    )
