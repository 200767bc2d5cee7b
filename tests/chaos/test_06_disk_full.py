"""Row 6: the disk is full. Writes are refused as such, reads go on, and with space all resumes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from kaizen.errors import KaizenError, StorageFull, Unavailable
from kaizen.storage import durable
from kaizen.storage.local_store import LocalStore
from kaizen.workspace import Workspace
from tests.chaos.conftest import Chaos
from tests.chaos.disk import memory_disk
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
from tests.unit.storage.examples import document

DISK_BYTES = 12 * 2**20
FIRST, MORE = 4, 3  # files that are taken in before the disk is full, and that come then
FAULT = "a tmpfs with a few KiB left, in ingest, sealing and single writes"
REFUSED = (StorageFull, Unavailable)  # HTTP 507 and 503


def space_left(directory: Path, space_bytes: int) -> Path:
    """Fill the disk up to so many bytes; the file that does it."""
    filler = directory / "filler"
    filler.write_bytes(b"\0" * max(0, shutil.disk_usage(directory).free - space_bytes))
    return filler


def refusals(parts: Workspace, index: SmallIndex) -> Iterator[str]:
    """Try each kind of write until it is refused; yields what was refused with the wrong error, or never."""

    def many() -> None:
        for number in range(10_000):
            parts.ledger.documents.upsert(document(f"d{number}", "x" * 3000))

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
            found = list(refusals(parts, index)) + torn(parts)
            there = chunks_of(*(shard.view for shard in loaded(parts)))
            if before - there or not parts.ledger.documents.get(TENANT, next(iter(before))[0]):
                found.append("what was there before cannot be read")
            filler.unlink()
            take_in(parts, index.sources)
            seal(parts)
            whole = chunks_of(*(shard.view for shard in loaded(parts)))
            if len({name for name, _, _ in whole if name.endswith(".txt")}) != FIRST + MORE:
                found.append("with space again not all is there")
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
