"""What writers of documents, feedback and objects do in processes of their own, telling each acknowledged write."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.errors import KaizenError
from kaizen.storage.ledger import Ledger, database
from kaizen.storage.ledger.group_commit import _Write
from kaizen.storage.local_store import LocalStore
from tests.unit.storage.examples import TENANT, document, feedback, impression

Tell = Callable[[tuple[str, str]], None]
_WRITES_AT_ONCE = 3


def write_for_ever(tell: Tell, directory: Path, life: int) -> None:
    """Documents (three in flight), for every third a judgement on what was just shown, an object for every fifth, until
    it ends."""
    store = LocalStore(directory / "objects")
    ledger = _opened(directory)
    number = 0
    while True:
        written = [document(f"{life}-{number + i}") for i in range(_WRITES_AT_ONCE)]
        for item, future in [(item, ledger.documents.submit_upsert(item)) for item in written]:
            future.result()
            tell(("document", item.id))
        name = f"{life}-{number}"
        ledger.impressions.submit_record(impression(f"imp-{name}")).result()
        ledger.feedback.record(feedback(name, impression_id=f"imp-{name}", key=name))
        tell(("feedback", name))
        if number % 5 == 0:
            store.put_directory(f"kept/{name}", _source(directory))
            tell(("object", name))
        number += _WRITES_AT_ONCE


def write_without_synchronous(tell: Tell, directory: Path, life: int) -> None:
    """The same with a database that does not wait for the disk."""

    def off(raw: sqlite3.Connection, record: object) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA synchronous=OFF")

    never = patch.object(database, "_wait_for_the_disk", lambda connection, synced: None)
    with patch.object(database, "_set_up_sqlite", off), never:
        write_for_ever(tell, directory, life)


def write_without_fsync(tell: Tell, directory: Path, life: int) -> None:
    """The same with an object store that does not wait for the disk."""
    with patch.object(os, "fsync", lambda descriptor: None):
        write_for_ever(tell, directory, life)


def write_before_commit(tell: Tell, directory: Path, life: int) -> None:
    """The same with writes that are acknowledged before they are committed."""

    def too_early(work: Callable[[_Write[int], sa.Connection], None]) -> Callable[[_Write[int], sa.Connection], None]:
        def attempt(self: _Write[int], connection: sa.Connection) -> None:
            work(self, connection)
            _ACKNOWLEDGE(self)
            threading.Event().wait(0.005)  # the moment that a commit takes on a slow disk

        return attempt

    early = {name: too_early(getattr(_Write, name)) for name in ("run", "attempt")}
    with patch.multiple(_Write, acknowledge=lambda self: None, **early):
        write_for_ever(tell, directory, life)


_ACKNOWLEDGE = _Write.acknowledge


def tell_outcomes(tell: Tell, directory: Path, count: int) -> None:
    """Write `count` documents one after the other, and before each what need not be synced; tell `ok`, or the code of
    the error, for each document, and for opening."""
    try:
        ledger = _opened(directory)
    except KaizenError as error:
        tell(("open", error.code))
        return
    with ledger:
        for number in range(count):
            ledger.impressions.submit_record(impression(f"imp-{number}"))
            try:
                ledger.documents.upsert(document(f"d{number}", "x" * 1000))
                tell((f"d{number}", "ok"))
            except KaizenError as error:
                tell((f"d{number}", error.code))


def acknowledged(kind: str, outcomes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of (name, outcome) those that were acknowledged, as `lost` takes them."""
    return [(kind, name) for name, outcome in outcomes if outcome == "ok"]


def lost(directory: Path, acknowledged: Collection[tuple[str, str]]) -> list[str]:
    """Which of the acknowledged writes a fresh look at the directory does not find, whole."""
    named: dict[str, list[str]] = {"document": [], "feedback": [], "object": []}
    for kind, name in acknowledged:
        named[kind].append(name)
    return [
        *_lost_rows(directory, named["document"], named["feedback"]),
        *_lost_objects(directory, named["object"]),
    ]


def _lost_rows(directory: Path, documents: list[str], judgements: list[str]) -> list[str]:
    with _opened(directory) as ledger:
        changes = ledger.documents.changes_after(0, limit=1_000_000)
        there = {change.document_id for change in changes if change.document is not None and change.document.text}
        judged = [given.id for _, given in ledger.feedback.after(0, limit=1_000_000)]
        shown = {seen.id for _, seen in ledger.impressions.after(0, limit=1_000_000)}
        states = ledger.documents.states(TENANT, documents)
    found = [f"document {name}" for name in documents if name not in there or name not in states]
    found += [f"feedback {name}" for name in judgements if name not in judged]
    found += [f"what feedback {name} is on" for name in judgements if f"imp-{name}" not in shown]
    twice = len(changes) - len({change.document_id for change in changes}) + len(judged) - len(set(judged))
    return found + ([f"{twice} writes are there twice"] if twice else [])


def _lost_objects(directory: Path, names: list[str]) -> list[str]:
    found, store = [], LocalStore(directory / "objects")
    for name in names:
        try:
            store.fetch_directory(f"kept/{name}")
        except KaizenError as error:
            found.append(f"object {name}: {error.message}")
    return found


def _opened(directory: Path) -> Ledger:
    return Ledger.open(LedgerSettings(), f"sqlite:///{directory}/ledger.sqlite")


def _source(directory: Path) -> Path:
    source = directory / "source"
    if not source.exists():
        source.mkdir()
        (source / "a.bin").write_bytes(os.urandom(5000))
    return source
