"""Releases: the bundles that answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.ids import fingerprint
from kaizen.records import Release
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import releases

Parts = Mapping[str, Mapping[str, Any]]


class Releases:
    """Every release ever made, numbered from 1."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, parts: Parts, parent: str | None = None) -> Release:
        """Store a release durably and return it; the same parts again give the release they made first.

        Raises:
            NotFound: there is no release `parent`.
        """
        return self._database.write(lambda connection: _record(connection, parts, parent))

    def get(self, release_id: str) -> Release:
        """Return a release; NotFound when there is none with this id."""
        with self._database.read() as connection:
            return read(connection, release_id)

    def list(self) -> list[Release]:
        """Return all releases, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(releases).order_by(releases.c.number.desc()))
            return [_release(row) for row in rows]


def _record(connection: sa.Connection, parts: Parts, parent: str | None) -> Release:
    print_ = fingerprint(parts)
    known = connection.execute(sa.select(releases).where(releases.c.fingerprint == print_)).one_or_none()
    if known is not None:
        return _release(known)
    if parent is not None:
        read(connection, parent)
    number = (connection.scalar(sa.select(sa.func.max(releases.c.number))) or 0) + 1
    row = {
        "number": number,
        "id": f"r{number}-{print_[:8]}",
        "at": time.time(),
        "fingerprint": print_,
        "parts": parts,
        "parent": parent,
    }
    connection.execute(sa.insert(releases), row)
    return read(connection, str(row["id"]))


def read(connection: sa.Connection, release_id: str) -> Release:
    """Return a release within the caller's transaction; NotFound when there is none with this id."""
    row = connection.execute(sa.select(releases).where(releases.c.id == release_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no release {release_id!r}.", advice="List the releases to see their ids.")
    return _release(row)


def _release(row: sa.Row[Any]) -> Release:
    return Release(**row._mapping)
