"""Row 6: the disk is full. Writes are refused as such, reads go on, and with space all resumes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from kaizen.errors import KaizenError, StorageFull, Unavailable
from kaizen.storage import durable
from kaizen.storage.local_store import LocalStore
from kaizen.workspace import Workspace
from tests.chaos.conftest import TWINS, WORD, Chaos, Flock, Flocks
from tests.chaos.disk import memory_disk
from tests.chaos.history import History, Mix, recorded_releases, traffic
from tests.chaos.model import FAILED, Operation
from tests.chaos.small_index import (
    TENANT,
    SmallIndex,
    chunks_of,
    loaded,
    make_small_index,
    seal,
    take_in,
    torn,
)
from tests.chaos.without import without
from tests.product import Product, configure, eventually, started
from tests.unit.storage import examples

DISK_BYTES = 12 * 2**20
FIRST, MORE = 4, 3  # files that are taken in before the disk is full, and that come then
FAULT = "a tmpfs with a few KiB left, in ingest, sealing and single writes"
REFUSED = (StorageFull, Unavailable)  # HTTP 507 and 503


def space_left(directory: Path, space_bytes: int) -> Path:
    """Fill the disk up to so many bytes; the file that does it."""
    filler = directory / "filler"
    filler.write_bytes(b"\0" * max(0, shutil.disk_usage(directory).free - space_bytes))
    return filler


def refusals(parts: Workspace, index: SmallIndex, stored: list[str]) -> Iterator[str]:
    """Try each kind of write until it is refused; yields what was refused with the wrong error, or never. The names of
    single writes that were acknowledged are added to `stored`."""

    def many() -> None:
        for number in range(10_000):
            parts.ledger.documents.upsert(examples.document(f"d{number}", "x" * 3000))
            stored.append(f"d{number}")

    for kind, write in {
        "ingest": lambda: take_in(parts, index.sources),
        "sealing": lambda: seal(parts),
        "single writes": many,
    }.items():
        try:
            write()
        except REFUSED:
            continue
        except (KaizenError, OSError) as error:
            yield f"{kind}: {type(error).__name__}: {error}"
        else:
            if kind == "single writes":
                yield f"{kind}: never refused"


def filled_up(made: SmallIndex, directory: Path, space_bytes: int) -> list[str]:
    """What is wrong while a disk is full, and after there is space again."""
    with memory_disk(directory, DISK_BYTES) as disk:
        index = made.copied(disk / "workspace")
        with index.opened() as parts:
            before = chunks_of(*(shard.view for shard in loaded(parts)))
            filler = space_left(disk, space_bytes)
            stored: list[str] = []
            found = list(refusals(parts, index, stored)) + torn(parts)
            there = chunks_of(*(shard.view for shard in loaded(parts)))
            if before - there or not parts.ledger.documents.get(TENANT, next(iter(before))[0]):
                found.append("what was there before cannot be read")
            filler.unlink()
            take_in(parts, index.sources)
            seal(parts)
            whole = {name for name, _, _ in chunks_of(*(shard.view for shard in loaded(parts)))}
            if len({name for name in whole if name.endswith(".txt")}) != FIRST + MORE:
                found.append("with space again not all is there")
            known = parts.ledger.documents.states(examples.TENANT, stored).keys()
            found += [f"{name} was acknowledged, and is not there" for name in stored if name not in known & whole]
            return found + torn(parts)


@contextmanager
def in_place() -> Iterator[None]:
    """Pointers are written over instead of beside."""
    with patch.object(durable, "replace", lambda path, data: path.write_bytes(data)):
        yield


def pointer_on_a_full_disk(directory: Path) -> list[str]:
    """What is wrong with a pointer that was set while the disk was full."""
    with memory_disk(directory, DISK_BYTES) as disk:
        store = LocalStore(disk / "objects")
        store.write_pointer("CURRENT", "first")
        space_left(disk, 0)
        try:
            store.write_pointer("CURRENT", "second" * 10_000)
            return ["it was set though there is no space"]
        except StorageFull:
            pass
        try:
            return [] if store.read_pointer("CURRENT") == "first" else ["it is another one"]
        except KaizenError as error:
            return [str(error)]


def test_a_full_disk(chaos: Chaos, tmp_path: Path) -> None:
    made = make_small_index(tmp_path / "made")
    made.write_sources(0, FIRST)
    with made.opened() as parts:
        take_in(parts, made.sources)
        seal(parts)
    made.write_sources(FIRST, MORE)
    chance, trials = chaos.chance("disk full"), chaos.of(3, 40)
    found = []
    for trial in range(trials):
        found += filled_up(made, tmp_path / f"disk-{trial}", chance.randrange(0, 400_000))
    chaos.kept(6, FAULT, trials=trials, violations=len(found))
    assert found == []


def test_a_pointer_is_whole_on_a_full_disk(chaos: Chaos, tmp_path: Path) -> None:
    found = pointer_on_a_full_disk(tmp_path / "disk")
    chaos.kept(6, "a pointer set on a full tmpfs", trials=1, violations=len(found))
    assert found == []
    with in_place():
        seen = pointer_on_a_full_disk(tmp_path / "disk")
    chaos.broken(
        6, "a pointer set on a full tmpfs", defence="files are written beside the old ones, then renamed", trials=1,
        violations=len(seen), seen="; ".join(seen),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- under traffic

# Configuration and workspace of an installation lie on the disk, as where they have a volume of their own: ledger,
# index, models, what waits to be recorded, its log. Ray's own files stay where the machine's temporary folder is.
INSTALLATION_BYTES = 256 * 2**20
IN_SERVICE = "a tmpfs with a few KiB left, under the workspace of an installation with traffic"
MIX = Mix(query=WORD, searchers=2, writers=2, pause_seconds=0.05, explain=True)
REFUSALS = 40  # that are seen before there is space again
FULL_SECONDS = 10.0  # and so long at least: sealing, and what writes in the background, meet it too


def disk_fills_up(product: Product, disk: Path, one: Flock, chance: Random) -> tuple[History, float | None]:
    """Traffic while the disk is full, and when there is space again; seconds until a write is taken then, or None."""
    with traffic(product, one.key, MIX) as history:
        filler = disk / "filler"
        with suppress(OSError):  # others took the last of it meanwhile: it is full
            space_left(disk, chance.randrange(0, 400_000))
        since = time.monotonic()
        try:
            eventually(lambda: len(refused(history)) >= REFUSALS, 120, "writes are refused")
            while time.monotonic() < since + FULL_SECONDS:
                history.wait_for_more(20, "search")
        finally:
            filler.unlink()
        since = time.monotonic()
        try:
            eventually(lambda: taken(history, since), 30, "a write is taken")
        except AssertionError:
            return history, None
        seconds = taken(history, since)[0].ended - since
        history.wait_for_more(60)
    return history, seconds


def refused(history: History) -> list[Operation]:
    """Changes that the full disk did not take."""
    return [each for each in history.of("write", "delete", "feedback") if each.status in (503, 507)]


def taken(history: History, since: float) -> list[Operation]:
    """Writes that were begun after `since` and acknowledged."""
    return [each for each in history.of("write") if each.invoked > since and each.status == 200]


def wrong(history: History) -> list[str]:
    """What was answered as it should not be on a full disk."""
    strange = []
    for each in history.of():
        if each.kind == "search":
            well = each.status == each.first_status == 200 and each.coverage == 1
        else:
            well = each.outcome == "acknowledged" or {each.first_status, each.status} <= {200, 503, 507}
        strange += [] if well else [f"{each.kind} {each.document}: {each.first_status}, {each.status}"]
    return strange


@contextmanager
def on_a_small_disk(folder: Path) -> Iterator[tuple[Product, Path]]:
    """An installation with its workspace on a disk of INSTALLATION_BYTES."""
    with memory_disk(folder / "disk", INSTALLATION_BYTES) as disk, started(configure(disk, TWINS)) as product:
        yield product, disk


@pytest.mark.usefixtures("long_form")
@pytest.mark.timeout(1200)
def test_an_installation(tmp_path: Path, flocks: Flocks, chaos: Chaos) -> None:
    chance = chaos.chance("disk full in service")
    with on_a_small_disk(tmp_path) as (product, disk):
        for _ in range(5):
            one = flocks(product)
            history, seconds = disk_fills_up(product, disk, one, chance)
            found = one.violations(history, recorded_releases(product))
            broken = [violation for violation in found if violation.promise != FAILED]
            count = len(broken) + len(wrong(history)) + (seconds is None)
            statuses = sorted({each.status for each in refused(history)})
            print(f"{len(history.of())} operations, {len(refused(history))} refused with {statuses}")
            chaos.kept(6, IN_SERVICE, trials=1, violations=count, seconds=seconds)
            assert (broken, wrong(history)) == ([], [])
            assert seconds is not None, "no write was taken with space again"
            eventually(lambda: all(s["head_segments"] == 0 for s in product.shards().values()), 90, "all is sealed")


@pytest.mark.usefixtures("long_form")
def test_a_full_disk_taken_for_a_broken_one(tmp_path: Path, flocks: Flocks, chaos: Chaos) -> None:
    stand_in = {"kaizen.storage.ledger.group_commit:_FATAL": "tests.chaos.stand_ins:fatal_when_full"}
    with without(stand_in), on_a_small_disk(tmp_path) as (product, disk):
        _, seconds = disk_fills_up(product, disk, flocks(product), chaos.chance("disk full, weak"))
    chaos.broken(
        6, IN_SERVICE, defence="a full disk does not end the ledger's writer", trials=1,
        violations=int(seconds is None), seen="with space again no write was taken within 30 s",
    )  # fmt: skip
