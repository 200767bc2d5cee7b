"""Releases, and the rollout: which of them is the stable one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from kaizen.errors import Conflict, NotFound
from kaizen.ids import fingerprint
from kaizen.records import Release
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import releases, rollout

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
            return _get(connection, release_id)

    def list(self) -> list[Release]:
        """Return all releases, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(releases).order_by(releases.c.number.desc()))
            return [_release(row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """The rollout's one row: `version` rises by one with every change, `stable` is a release id."""

    version: int
    stable: str | None


class Rollout:
    """Who gets what. One row, changed by compare-and-set, so that of two who decide at once one loses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> str | None:
        """Return the id of the stable release; None before the first."""
        return self.state().stable

    def state(self) -> RolloutState:
        """Return the row, with the version to hand to `compare_and_set`."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(rollout)).one()
        return RolloutState(version=row.version, stable=row.stable)

    def compare_and_set(self, expected_version: int, *, stable: str) -> RolloutState:
        """Make `stable` the stable release, if nobody changed the row since it had `expected_version`.

        Raises:
            Conflict: somebody did.
            NotFound: there is no such release.
        """
        return self._database.write(lambda connection: _compare_and_set(connection, expected_version, stable))


def _record(connection: sa.Connection, parts: Parts, parent: str | None) -> Release:
    print_ = fingerprint(parts)
    known = connection.execute(sa.select(releases).where(releases.c.fingerprint == print_)).one_or_none()
    if known is not None:
        return _release(known)
    if parent is not None:
        _get(connection, parent)
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
    return _get(connection, str(row["id"]))


def _get(connection: sa.Connection, release_id: str) -> Release:
    row = connection.execute(sa.select(releases).where(releases.c.id == release_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no release {release_id!r}.", advice="List the releases to see their ids.")
    return _release(row)


def _release(row: sa.Row[Any]) -> Release:
    return Release(**row._mapping)


def _compare_and_set(connection: sa.Connection, expected_version: int, stable: str) -> RolloutState:
    _get(connection, stable)
    changed = connection.execute(
        sa.update(rollout)
        .where(rollout.c.version == expected_version)
        .values(version=expected_version + 1, stable=stable, at=time.time())
    ).rowcount
    if not changed:
        raise Conflict("The rollout was changed by somebody else.", advice="Read its state again, then decide again.")
    return RolloutState(version=expected_version + 1, stable=stable)
