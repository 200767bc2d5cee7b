"""Row 7: a sync fails. What was being written is not acknowledged, that writer stops, and another one goes on."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from unittest.mock import patch

import psutil
import pytest

from kaizen.errors import KaizenError
from kaizen.storage.ledger import group_commit
from kaizen.storage.local_store import LocalStore
from tests.chaos.conftest import WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, recorded_releases, traffic
from tests.chaos.model import FAILED, Operation
from tests.chaos.parts import GATEWAY, until_replaced
from tests.chaos.victim import SYNC, Strike, Work, struck, struck_by, why_no_strace
from tests.chaos.writer import Tell, acknowledged, lost, tell_outcomes
from tests.product import Product, eventually

Outcomes = Sequence[tuple[str, str]]
WRITES, PUTS = 30, 4
# The writer's second sync is SQLite's of the directory that holds its log. It does not look at the answer, and need
# not: opening the ledger has synced the directory with the log in it, and looked.
LOGS_ENTRY = 2
FAULT = "EIO from the N-th fsync or fdatasync of the {}"


def go_on_after_a_failure(tell: Tell, directory: Path, count: int) -> None:
    """Writes of a ledger that takes a failed sync for one like any other failure."""
    with patch.object(group_commit, "_FATAL", ()):
        tell_outcomes(tell, directory, count)


def put_objects(tell: Tell, directory: Path, count: int) -> None:
    """Put objects; tell `ok`, or the code of the error, for each, and for opening."""
    try:
        store, source = LocalStore(directory / "objects"), directory / "source"
    except KaizenError as error:
        tell(("open", error.code))
        return
    for number in range(count):
        try:
            store.put_directory(f"kept/d{number}", source)
            tell((f"d{number}", "ok"))
        except KaizenError as error:
            tell((f"d{number}", error.code))


def put_and_ignore_failures(tell: Tell, directory: Path, count: int) -> None:
    """The same where nobody looks at what a sync said."""
    sync = os.fsync

    def ignored(descriptor: int) -> None:
        with suppress(OSError):
            sync(descriptor)

    with patch.object(os, "fsync", ignored):
        put_objects(tell, directory, count)


def of_the_ledger(directory: Path, outcomes: Outcomes) -> list[str]:
    """What is wrong with what a ledger's writer told."""
    codes = [code for _, code in outcomes]
    good = codes.index("writer-stopped") if "writer-stopped" in codes else len(codes)
    found = [f"it went on after a failed sync: {codes}"] if "ok" in codes[good:] else []
    if good == len(codes) and outcomes[0][0] != "open":
        found.append("a sync failed and nobody was told")
    found += lost(directory, acknowledged("document", outcomes))
    after: list[tuple[str, str]] = []
    tell_outcomes(after.append, directory, 1)  # as the gateway does that replaces one whose writer has stopped
    return found if [code for _, code in after] == ["ok"] else [*found, f"the next writer was refused: {after}"]


def of_the_store(directory: Path, outcomes: Outcomes) -> list[str]:
    """What is wrong with what somebody who puts objects told."""
    refused = [name for name, code in outcomes if code == "unavailable"]
    found = [] if refused else ["a sync failed and nobody was told"]
    return found + lost(directory, acknowledged("object", outcomes))


def trials(
    directory: Path, work: Work, count: int, whens: Sequence[int], check: Callable[[Path, Outcomes], list[str]]
) -> list[str]:
    """What was wrong when the N-th sync failed, for each N."""
    found = []
    for when in whens:
        place = directory / f"{work.__name__}-{when}"
        (place / "source").mkdir(parents=True)
        (place / "source" / "a.bin").write_bytes(b"x" * 5000)
        tell_outcomes(lambda told: None, place, 0)  # makes the ledger
        code, told = struck(work, place, count, strike=Strike(SYNC, "error=EIO", when))
        assert code == 0
        found += check(place, told)
    return found


def test_the_ledger(chaos: Chaos, tmp_path: Path) -> None:
    numbers = [number for number in range(1, WRITES) if number != LOGS_ENTRY]
    whens = chaos.chance("ledger's sync").sample(numbers, chaos.of(4, 25))
    found = trials(tmp_path, tell_outcomes, WRITES, whens, of_the_ledger)
    chaos.kept(7, FAULT.format("ledger"), trials=len(whens), violations=len(found))
    assert found == []
    seen = trials(tmp_path, go_on_after_a_failure, WRITES, [5], of_the_ledger)
    chaos.broken(
        7, FAULT.format("ledger"), defence="a failed sync ends the ledger's writer", trials=1, violations=len(seen),
        seen="it went on",
    )  # fmt: skip


def test_the_object_store(chaos: Chaos, tmp_path: Path) -> None:
    whens = chaos.chance("store's sync").sample(range(2, 20), chaos.of(3, 18))
    found = trials(tmp_path, put_objects, PUTS, whens, of_the_store)
    chaos.kept(7, FAULT.format("object store"), trials=len(whens), violations=len(found))
    assert found == []
    seen = trials(tmp_path, put_and_ignore_failures, PUTS, [5], of_the_store)
    chaos.broken(
        7, FAULT.format("object store"), defence="the object store looks at what fsync says", trials=1,
        violations=len(seen), seen="the object was acknowledged",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- under traffic

IN_SERVICE = "EIO from a sync of a gateway's ledger, under traffic"
MIX = Mix(query=WORD, searchers=2, writers=3, pause_seconds=0.02, explain=True)
# A replica lives for half a minute at least, and the second one gives the first as long to be there again.
REPLACED_SECONDS = 120.0
_INJECTED = "(INJECTED)"


def sync_fails(product: Product, one: Flock, chance: Random, patience: float) -> tuple[History, float | None]:
    """Traffic while a sync of one gateway fails, until that one is replaced; seconds until it is, None: it is not."""
    gateways = product.processes(GATEWAY)
    victim = chance.choice(gateways)
    with traffic(product, one.key, MIX) as history:
        fail_a_sync(victim, chance.randrange(LOGS_ENTRY + 1, 9))
        since = time.monotonic()
        eventually(lambda: stopped(history), 60, "a write is refused by the writer that has stopped")
        try:
            eventually(lambda: victim not in product.processes(GATEWAY), patience, "the gateway has ended")
        except AssertionError:
            return history, None
        until_replaced(product, GATEWAY, victim, wanted=len(gateways))
        seconds = time.monotonic() - since
        history.wait_for_more(60)
    return history, seconds


def fail_a_sync(process: psutil.Process, when: int) -> None:
    """Give EIO to the N-th sync of each of its threads until one has got it."""
    with tempfile.NamedTemporaryFile("r") as log, struck_by(process.pid, Strike(SYNC, "error=EIO", when), log.name):
        eventually(lambda: _INJECTED in Path(log.name).read_text(), 60, "a sync fails")


def stopped(history: History) -> list[Operation]:
    """Changes that were refused, at first or for good, as a stopped writer does it."""
    return [each for each in history.of("write", "delete", "feedback") if 503 in (each.first_status, each.status)]


@pytest.mark.usefixtures("long_form")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["product", "twins"])
def test_a_gateway(request: pytest.FixtureRequest, name: str, flocks: Flocks, chaos: Chaos) -> None:
    """What may fail is a write that its one more try brings to the same replica: nothing else does, nothing is lost."""
    if why_no_strace():
        pytest.skip(why_no_strace())
    running: Product = request.getfixturevalue(name)
    chance = chaos.chance(f"sync in service {name}")
    for _ in range(3):
        one = flocks(running)
        history, seconds = sync_fails(running, one, chance, REPLACED_SECONDS)
        found = one.violations(history, recorded_releases(running))
        broken = [violation for violation in found if violation.promise != FAILED]
        others = [each for each in history.failed() if each.kind == "search" or each.status != 503]
        print(f"{len(history.of())} operations, {len(history.failed())} refused twice by the writer that had stopped")
        count = len(broken) + len(others) + (seconds is None)
        chaos.kept(7, IN_SERVICE, trials=1, violations=count, seconds=seconds)
        assert (broken, others) == ([], [])
        assert seconds is not None, "it was not replaced"


@pytest.mark.usefixtures("long_form")
def test_a_gateway_that_goes_on(weak_twins: Product, flocks: Flocks, chaos: Chaos) -> None:
    if why_no_strace():
        pytest.skip(why_no_strace())
    history, seconds = sync_fails(weak_twins, flocks(weak_twins), chaos.chance("sync, weak"), 60)
    chaos.broken(
        7, IN_SERVICE, defence="a failed sync ends the gateway's writer", trials=1, violations=int(seconds is None),
        seen=f"it was there after 60 s, and {len(stopped(history))} of {len(history.of('write'))} writes were refused",
    )  # fmt: skip
