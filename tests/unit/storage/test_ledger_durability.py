"""What was acknowledged is there: after kill -9, with a full disk, and when a sync fails."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import StorageFull, Unavailable
from kaizen.storage.ledger import Ledger, database
from tests.unit.storage.children import acknowledge_until_killed, fork_server, stored_ids, telling, write_past_a_limit
from tests.unit.storage.examples import TENANT, document

ROOT = Path(__file__).parents[3]
SETTINGS = LedgerSettings()


def _program(name: str) -> str:
    """Return the path of a program of the system; skips where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def _told(target: Callable[..., None], *arguments: object, kill_after: int | None = None) -> list[Any]:
    """Run `target(pipe, ...)` in a process and return what it told, killing it -9 at the `kill_after`th message."""
    told = []
    with telling(fork_server(), target, *arguments) as (child, reader):
        while True:
            try:
                told.append(reader.recv())
            except EOFError:
                break
            if len(told) == kill_after:
                child.kill()
        child.join()
    return told


def test_every_acknowledged_write_survives_kill_9(url: str) -> None:
    acknowledged: set[str] = set()
    for life in range(8):
        told = _told(acknowledge_until_killed, url, life, kill_after=random.randint(1, 60))  # noqa: S311
        acknowledged |= set(told)
        assert acknowledged - stored_ids(url) == set()
    assert len(acknowledged) >= 8


def test_sqlite_full_refuses_the_large_write_keeps_its_neighbours_and_goes_on(tmp_path: Path) -> None:
    with Ledger.open(SETTINGS, f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.submit(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100").close()).result()
        small, large = document("small"), document("large", "x" * 4_000_000)
        futures = [ledger.documents.submit_upsert(item) for item in (small, large, document("small too"))]
        assert futures[0].result() < futures[2].result()
        with pytest.raises(StorageFull):
            futures[1].result()
        assert sorted(ledger.documents.states(TENANT, ["small", "large", "small too"])) == ["small", "small too"]
        ledger.submit(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 100000").close()).result()
        assert ledger.documents.upsert(large) == ledger.documents.head()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        [_program("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this user may not mount a file system: {mounted.stderr.strip()}")
    yield disk
    subprocess.run([_program("umount"), str(disk)], check=True)


def test_a_full_disk_is_transient(small_disk: Path) -> None:
    filler = small_disk / "filler"
    acknowledged = []
    with Ledger.open(SETTINGS, f"sqlite:///{small_disk}/ledger.sqlite") as ledger:
        filler.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 65536))
        with pytest.raises(StorageFull):
            for number in range(1000):
                ledger.documents.upsert(document(f"d{number}", "x" * 3000))
                acknowledged.append(f"d{number}")
        filler.unlink()
        ledger.documents.upsert(document("after"))
    assert acknowledged
    assert stored_ids(f"sqlite:///{small_disk}/ledger.sqlite") == {*acknowledged, "after"}


def test_after_a_failed_write_to_the_disk_the_writer_stops_for_good(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    Ledger.open(SETTINGS, url).close()
    outcomes = _told(write_past_a_limit, url, 400_000, 150)
    codes = [code for _name, code in outcomes]
    good = codes.index("writer-stopped")
    assert codes == ["ok"] * good + ["writer-stopped"] * (150 - good)
    assert good > 0
    assert {name for name, code in outcomes if code == "ok"} <= stored_ids(url)


def test_a_failed_sync_acknowledges_nothing_and_stops_the_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with Ledger.open(SETTINGS, url) as ledger:
        ledger.documents.upsert(document("before"))
    log = tmp_path / "strace"
    inject = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=30"]  # once
    code = (
        "import json, sys; from tests.unit.storage.children import tell_outcomes\n"
        "class Told:\n    send = staticmethod(lambda told: print(json.dumps(told), flush=True))\n"
        f"tell_outcomes(Told, {url!r}, 60)"
    )
    command = [_program("strace"), "-f", "--seccomp-bpf", "-o", str(log), *inject, sys.executable, "-c", code]
    if subprocess.run([command[0], "-o", os.devnull, sys.executable, "-V"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    outcomes = [json.loads(line) for line in result.stdout.splitlines()]
    codes = [code for _name, code in outcomes]
    good = codes.index("writer-stopped")
    assert codes == ["ok"] * good + ["writer-stopped"] * (60 - good)
    synced = sum("= 0" in line for line in log.read_text().splitlines())
    assert 0 < good <= synced  # one sync or more for every acknowledgement
    assert {name for name, code in outcomes if code == "ok"} <= stored_ids(url)


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_lost_postgresql_connection_fails_its_group_alone(ledger: Ledger) -> None:
    ledger.documents.upsert(document("before"))
    kill = sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid()))
    with pytest.raises(Unavailable):
        ledger.submit(lambda connection: connection.execute(kill).close()).result()
    ledger.documents.upsert(document("after"))
    assert ledger.documents.count(TENANT) == 2


def test_a_ledger_whose_log_may_not_be_found_again_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    def refuse(directory: Path) -> None:
        seen.append({file.name for file in directory.iterdir()})
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(database, "sync_directory", refuse)
    with pytest.raises(Unavailable, match="EIO"):
        Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite")
    assert {"ledger.sqlite", "ledger.sqlite-wal"} <= seen[0], "the log's entry is among what is synced"
