"""A disk that cannot read some of its files any more: what lies in them is lost, and whoever asks is told so."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from kaizen.errors import Corrupt, Unavailable
from kaizen.indexing.generation import GenerationStore
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.local_store import LocalStore
from tests.unit.indexing.no_ledger import NoLedger
from tests.unit.retrieval.rows import document, segment

OPEN = Path.open


class Disk:
    """Answers with an error where a path has a part of its name."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.bad, self.number = "\0", errno.EIO
        patch.setattr(Path, "open", lambda path, *how, **rest: self._open(path, *how, **rest))

    def _open(self, path: Path, *how: str, **rest: str) -> IO[bytes]:
        if self.bad in str(path):
            raise OSError(self.number, "the disk says no", str(path))
        return OPEN(path, *how, **rest)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(tmp_path / "objects")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "words").write_bytes(b"pump")
    made.put_directory("a", tmp_path / "source")
    made.write_pointer("CURRENT", "a")
    made.put_bytes("blob", b"valve")
    return made


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EIO, Corrupt), (errno.EUCLEAN, Corrupt), (errno.EBADMSG, Corrupt), (errno.EACCES, Unavailable)],
)
def test_what_the_disk_cannot_read_is_corrupt_and_what_it_may_not_read_is_not(
    store: LocalStore, disk: Disk, number: int, error: type[Exception]
) -> None:
    disk.bad, disk.number = "objects", number
    for read in (store.fetch_directory, store.manifest):
        with pytest.raises(error):
            read("a")
    with pytest.raises(error):
        store.read_pointer("CURRENT")
    with pytest.raises(error):
        store.get_bytes("blob")
    disk.bad = "words"
    assert store.manifest("a")
    with pytest.raises(error):
        store.fetch_directory("a")


def test_the_disk_is_not_corrupt_that_cannot_be_written(store: LocalStore, disk: Disk, tmp_path: Path) -> None:
    disk.bad = ".incoming"
    with pytest.raises(Unavailable):
        store.put_directory("b", tmp_path / "source")


def test_the_generation_before_loads(tmp_path: Path, disk: Disk) -> None:
    generations = GenerationStore(LocalStore(tmp_path), "index/i/shard-000", NoLedger())
    names = []
    for seq in (1, 2):
        fresh = segment(document(f"d{seq}", "pump"))
        generations.save(View(seq, (LiveSegment(fresh, np.ones(1, bool), sealed=False),)), fresh)
        names.append(fresh.name)
    assert generations.load().view.seq == 2
    disk.bad = names[1]
    loaded = generations.load()
    assert (loaded.view.seq, len(loaded.refused)) == (1, 1)
    disk.bad = "generations"
    assert (generations.load().view.seq, len(generations.load().refused)) == (0, 2)
