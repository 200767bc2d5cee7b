"""A spool: what was added is in it until it is settled, and whoever comes next finds it."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kaizen.errors import Unavailable
from kaizen.storage import spool
from kaizen.storage.spool import SUFFIX, UNREAD, Spool, take_over
from tests.unit.storage.children import telling


def _taken(folder: Path) -> list[bytes]:
    found: list[bytes] = []

    def store(records: list[bytes]) -> list[bytes]:
        found.extend(records)
        return [record for record in records if record.startswith(b"?")]

    assert take_over(folder, store) == len(found)
    return found


def _files(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{SUFFIX}"))


def _add_until_killed(told: Connection, folder: Path) -> None:
    mine = Spool(folder)
    for number in range(10_000):
        if mine.add(b"%d" % number):
            told.send(number)


def test_a_killed_process_leaves_what_it_added(tmp_path: Path) -> None:
    with telling(multiprocessing.get_context("fork"), _add_until_killed, tmp_path) as (_, reader):
        added = [reader.recv() for _ in range(200)]
        assert _taken(tmp_path) == [], "it lives"
    taken = _taken(tmp_path)
    assert taken[:200] == [b"%d" % number for number in added]
    assert (_taken(tmp_path), _files(tmp_path)) == ([], [])


def test_what_is_settled_is_not_kept(tmp_path: Path) -> None:
    mine = Spool(tmp_path)
    assert [mine.add(b"one"), mine.add(b"two")] == [True, True]
    mine.settle()
    assert mine.left() == [b"one", b"two"], "the second waits still"
    mine.settle()
    assert (mine.left(), _files(tmp_path)[0].stat().st_size) == ([], 0)
    mine.add(b"three")
    assert mine.left() == [b"three"]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    Spool(folder)
    assert (folder.stat().st_mode | _files(folder)[0].stat().st_mode) & 0o077 == 0


def test_closing_removes_it_unless_something_waits(tmp_path: Path) -> None:
    done, waiting = Spool(tmp_path), Spool(tmp_path)
    waiting.add(b"one")
    done.close()
    waiting.close()
    assert len(_files(tmp_path)) == 1
    assert _taken(tmp_path) == [b"one"]


def test_it_takes_no_more_when_it_is_full_until_it_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 10)
    mine = Spool(tmp_path)
    assert [mine.add(b"1234567"), mine.add(b"12")] == [True, False]
    mine.settle()
    assert mine.add(b"12")
    assert mine.left() == [b"12"]


def test_a_full_disk_leaves_no_half_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, write = Spool(tmp_path), os.pwrite
    mine.add(b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, line, at: write(file, line[:2], at))
        assert not mine.add(b"two")
    assert mine.add(b"three")
    assert mine.left() == [b"one", b"three"]
    mine.close()
    assert _taken(tmp_path) == [b"one", b"three"]


def test_a_disk_that_fails_is_told_and_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Spool(tmp_path)
    mine.add(b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", _fail)
        patch.setattr(os, "ftruncate", _fail)
        assert not mine.add(b"two")
        mine.settle()
    mine.add(b"three")
    assert mine.left() == [b"one", b"three"], "the first was stored, and could not be taken away"
    mine.settle()
    assert mine.left() == []


def test_after_it_is_closed_it_touches_no_file(tmp_path: Path) -> None:
    """The number of its descriptor may be that of any other file by then."""
    mine = Spool(tmp_path)
    mine.add(b"one")
    mine.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other == mine._file, "or this proves nothing"
    os.write(other, b"precious")
    assert not mine.add(b"two")
    mine.settle()
    mine.close()
    assert mine.left() == []
    assert os.pread(other, 100, 0) == b"precious"
    os.close(other)


def test_what_cannot_be_read_is_kept_for_somebody_who_can(tmp_path: Path) -> None:
    (tmp_path / f"left{SUFFIX}").write_bytes(b"one\n?two\n")
    assert _taken(tmp_path) == [b"one", b"?two"]
    kept = list(tmp_path.iterdir())
    assert [(file.suffix, file.read_bytes(), file.stat().st_mode & 0o077) for file in kept] == [(UNREAD, b"?two\n", 0)]


def test_one_that_cannot_be_opened_keeps_no_other_from_being_stored(tmp_path: Path) -> None:
    (tmp_path / f"a{SUFFIX}").mkdir()
    (tmp_path / f"b{SUFFIX}").write_bytes(b"one\n")
    assert _taken(tmp_path) == [b"one"]


def _fail(*_: object) -> int:
    raise OSError(5, "Input/output error")


def test_a_torn_record_is_not_one(tmp_path: Path) -> None:
    (tmp_path / f"left{SUFFIX}").write_bytes(b"one\ntw")
    assert _taken(tmp_path) == [b"one"]


def test_what_cannot_be_stored_now_stays(tmp_path: Path) -> None:
    (tmp_path / f"left{SUFFIX}").write_bytes(b"one\n")

    def refuse(_: list[bytes]) -> list[bytes]:
        raise Unavailable("The ledger does not answer.", advice="Wait.")

    with pytest.raises(Unavailable):
        take_over(tmp_path, refuse)
    assert _taken(tmp_path) == [b"one"]


def test_a_spool_that_was_taken_over_before_it_was_locked_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, lock = [], spool.try_lock

    def slow(file: int) -> bool:
        if not locked:
            _files(tmp_path)[0].unlink()
        locked.append(file)
        return lock(file)

    monkeypatch.setattr(spool, "try_lock", slow)
    mine = Spool(tmp_path)
    mine.add(b"one")
    assert len(locked) == 2
    assert _files(tmp_path)[0].read_bytes() == b"one\n"
