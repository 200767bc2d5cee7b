"""Many processes on one ledger."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import sqlalchemy as sa

from kaizen.config import LedgerSettings
from kaizen.storage.ledger import Ledger
from tests.unit.storage.children import fork_server, write_documents
from tests.unit.storage.examples import TENANT, document

PROCESSES = 16


def test_sixteen_processes_create_one_ledger_and_a_tailer_sees_all_in_order(empty_url: str) -> None:
    context = fork_server()
    start = context.Barrier(PROCESSES + 1)
    each = 12
    children = [context.Process(target=write_documents, args=(empty_url, start, n, each)) for n in range(PROCESSES)]
    for child in children:
        child.start()
    start.wait()
    seen: list[tuple[int, str]] = []
    with Ledger.open(LedgerSettings(), empty_url) as ledger:
        while any(child.is_alive() for child in children) or ledger.documents.head() > (seen[-1][0] if seen else 0):
            last = seen[-1][0] if seen else 0
            seen += [(change.seq, change.document_id) for change in ledger.documents.changes_after(last, limit=7)]
        written = [(change.seq, change.document_id) for change in ledger.documents.changes_after(0)]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * PROCESSES
    assert seen == written
    assert {name for _seq, name in seen} == {f"{n}-{i}" for n in range(PROCESSES) for i in range(each)}
    assert len(seen) == PROCESSES * each


def test_a_ledger_pickles_to_its_address(ledger: Ledger) -> None:
    seq = ledger.documents.upsert(document("a"))
    with pickle.loads(pickle.dumps(ledger)) as copy:  # noqa: S301 - our own bytes
        assert copy.documents.head() == seq
        assert copy.documents.upsert(document("b")) > seq
    assert ledger.documents.count(TENANT) == 2


def test_a_forked_child_connects_anew_and_leaves_the_parents_connections_alone(ledger: Ledger) -> None:
    ledger.documents.upsert(document("parent"))
    child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(30)  # a child that hangs must not outlive the test
        try:
            ledger.documents.upsert(document("child"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.documents.upsert(document("parent again"))
    assert sorted(ledger.documents.states(TENANT, ["parent", "child", "parent again"])) == [
        "child",
        "parent",
        "parent again",
    ]


def test_sqlite_is_set_for_durability(tmp_path: Path) -> None:
    with Ledger.open(LedgerSettings(busy_timeout_seconds=7), f"sqlite:///{tmp_path}/new/ledger.sqlite") as ledger:

        def read(connection: sa.Connection) -> list[object]:
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

        assert ledger.submit(read).result() == ["wal", 2, 1, 7000]
