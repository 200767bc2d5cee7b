"""Ingest runs: what each did and what it cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.ids import new_id
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import ingest_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `finished` and `cpu_seconds` are None while it goes on, or for good when it was killed.

    counts: what it did, such as documents, chunks, skipped, quarantined, deleted.
    """

    id: str
    tenant: str
    sources: tuple[str, ...]
    started: float
    finished: float | None
    counts: Mapping[str, int]
    cpu_seconds: float | None


class Runs:
    """The ingest runs of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, tenant: str, sources: Sequence[str]) -> str:
        """Record that a run begins and return its id."""
        run_id = new_id("run")
        row = {"id": run_id, "tenant": tenant, "sources": list(sources), "started": time.time(), "counts": {}}
        self._database.write(lambda connection: connection.execute(sa.insert(ingest_runs), row).close())
        return run_id

    def finish(self, run_id: str, *, counts: Mapping[str, int], cpu_seconds: float) -> None:
        """Record what a run did and what it cost; NotFound when it never began."""
        done = {"finished": time.time(), "counts": dict(counts), "cpu_seconds": cpu_seconds}
        self._database.write(lambda connection: _finish(connection, run_id, done))

    def get(self, run_id: str) -> Run:
        """Return a run; NotFound when there is none with this id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(ingest_runs).where(ingest_runs.c.id == run_id)).one_or_none()
        if row is None:
            raise _no_run()
        return _run(row)

    def newest(self, limit: int) -> list[Run]:
        """Return the runs of all tenants, the newest first."""
        query = sa.select(ingest_runs).order_by(ingest_runs.c.seq.desc()).limit(limit)
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def list(self, tenant: str, limit: int = 100) -> list[Run]:
        """Return a tenant's runs, the newest first."""
        query = (
            sa.select(ingest_runs).where(ingest_runs.c.tenant == tenant).order_by(ingest_runs.c.seq.desc()).limit(limit)
        )
        with self._database.read() as connection:
            return [_run(row) for row in connection.execute(query)]


def _finish(connection: sa.Connection, run_id: str, done: Mapping[str, Any]) -> None:
    if not connection.execute(sa.update(ingest_runs).where(ingest_runs.c.id == run_id).values(**done)).rowcount:
        raise _no_run()


def _run(row: sa.Row[Any]) -> Run:
    values = {name: value for name, value in row._mapping.items() if name != "seq"}
    return Run(**{**values, "sources": tuple(row.sources)})


def _no_run() -> NotFound:
    return NotFound("There is no ingest run with this id.", advice="List the runs to see their ids.")
