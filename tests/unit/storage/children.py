"""What test processes do, and how they are started: forked from a server that has imported the ledger once."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext, ForkServerContext
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

from kaizen.config import LedgerSettings
from kaizen.errors import KaizenError
from kaizen.storage.ledger import Ledger
from tests.unit.storage.examples import TENANT, document


def fork_server() -> ForkServerContext:
    """A way to start processes that takes a hundredth of a second each and inherits no threads or connections."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kaizen.storage.ledger", "alembic.command", "tests.unit.storage.examples"])
    return context


@contextmanager
def telling(
    context: BaseContext, target: Callable[..., None], *arguments: object
) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process that runs `target(pipe, *arguments)`, and where to read what it tells. It is killed -9 at the end."""
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=target, args=(writer, *arguments))  # type: ignore[attr-defined]
    child.start()
    writer.close()
    try:
        yield child, reader
    finally:
        child.kill()
        child.join()
        reader.close()


def write_documents(url: str, start: Barrier, worker: int, count: int) -> None:
    """Open the ledger together with everybody else, then write as fast as it goes, three writes in flight."""
    start.wait()
    with Ledger.open(LedgerSettings(), url) as ledger:
        for number in range(0, count, 3):
            futures = [ledger.documents.submit_upsert(document(f"{worker}-{n}")) for n in range(number, number + 3)]
            for future in futures:
                future.result()


def acknowledge_until_killed(told: Connection, url: str, life: int) -> None:
    """Write for ever; after each acknowledged write tell its document's id through the pipe."""
    ledger = Ledger.open(LedgerSettings(), url)
    number = 0
    while True:
        written = [document(f"{life}-{number + i}") for i in range(4)]
        futures = [ledger.documents.submit_upsert(item) for item in written]
        for item, future in zip(written, futures, strict=True):
            future.result()
            told.send(item.id)
        number += 4


def write_past_a_limit(told: Connection, url: str, limit_bytes: int, count: int) -> None:
    """Half of the writes while the kernel refuses to let any file grow over a limit, the others when it does not."""
    with Ledger.open(LedgerSettings(), url) as ledger:
        for limit in (limit_bytes, resource.RLIM_INFINITY):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            _tell_outcomes(told, ledger, f"{limit}", count // 2)


def tell_outcomes(told: Connection, url: str, count: int) -> None:
    """Write `count` documents one after the other; tell `ok`, or the code of the error, for each."""
    with Ledger.open(LedgerSettings(), url) as ledger:
        _tell_outcomes(told, ledger, "d", count)


def _tell_outcomes(told: Connection, ledger: Ledger, prefix: str, count: int) -> None:
    for number in range(count):
        try:
            ledger.documents.upsert(document(f"{prefix}{number}", "x" * 1000))
            outcome = "ok"
        except KaizenError as error:
            outcome = error.code
        told.send((f"{prefix}{number}", outcome))


def stored_ids(url: str) -> set[str]:
    """Return the ids of all upserts that a fresh look at the ledger finds, and check that each is whole."""
    with Ledger.open(LedgerSettings(), url) as ledger:
        changes = ledger.documents.changes_after(0, limit=1_000_000)
        present = ledger.documents.states(TENANT, [change.document_id for change in changes])
    assert sorted(present) == sorted(change.document_id for change in changes)
    return set(present)
