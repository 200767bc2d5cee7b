"""Row 7: a sync fails. What was being written is not acknowledged, that writer stops, and another one goes on: of a
gateway, the one that Serve puts in its place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from kaizen.errors import KaizenError
from kaizen.storage.ledger import group_commit
from kaizen.storage.local_store import LocalStore
from tests.chaos.conftest import Chaos
from tests.chaos.parts import BACK_SECONDS, GATEWAY
from tests.chaos.victim import SYNC, Strike, Work, struck, traced
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


def test_a_gateway(chaos: Chaos, twins: Product) -> None:
    """Others go on meanwhile, and it searches until it is replaced."""
    twins.wait_until_ready()
    key = twins.new_key(twins.new_tenant()[0])
    struck_one = twins.processes(GATEWAY)[0]
    written = set[str]()

    def write() -> int:
        """The status of a write over a connection of its own, which any gateway may get."""
        name = f"d{len(written)}"
        with twins.client(key) as client:
            response = client.put(f"/v1/documents/{name}", json={"text": "A pump."})
            assert client.post("/v1/search", json={"query": "pump"}).status_code == 200
        if response.status_code == 200:
            written.add(name)
        else:
            assert response.json()["type"] == "urn:kaizen:writer-stopped", response.text
        return response.status_code

    with traced(struck_one.pid, Strike(SYNC, "error=EIO", 1)):
        eventually(lambda: write() == 503, 30, "a sync of one gateway fails")
    since = time.monotonic()

    def replaced() -> bool:
        write()
        now = {process.pid for process in twins.processes(GATEWAY)}
        return struck_one.pid not in now and len(now) == 2

    eventually(replaced, BACK_SECONDS, "another gateway in its place")
    seconds = time.monotonic() - since
    twins.wait_until_ready()
    assert [write() for _ in range(10)] == [200] * 10
    with twins.client(key) as client:
        found = [name for name in sorted(written) if client.get(f"/v1/documents/{name}").status_code == 200]
    chaos.kept(7, FAULT.format("gateway"), trials=1, violations=len(written) - len(found), seconds=seconds)
    assert found == sorted(written)
