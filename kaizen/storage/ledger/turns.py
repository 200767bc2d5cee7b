"""The steward's turns and its memory: all that it needs to go on after its process was killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from kaizen.errors import Conflict, NotFound
from kaizen.ids import new_id
from kaizen.records import Turn
from kaizen.storage.ledger import decisions
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import steward, turns

_COLUMNS = tuple(turns.c[name] for name in Turn.__dataclass_fields__)


class Turns:
    """At most one turn is open at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, trigger: str, state: Mapping[str, Any]) -> Turn:
        """Open a turn; Conflict when one is open."""
        turn_id = new_id("turn")
        row = {"id": turn_id, "at": time.time(), "trigger": trigger, "state": dict(state), "outcome": ""}
        self._database.write(lambda connection: _start(connection, row))
        return self.get(turn_id)

    def save(self, turn_id: str, state: Mapping[str, Any]) -> None:
        """Store the state of an open turn; NotFound when it is not open."""
        self._update(turn_id, {"state": dict(state)})

    def finish(self, turn_id: str, outcome: str, state: Mapping[str, Any]) -> None:
        """Close a turn; NotFound when it is not open."""
        self._update(turn_id, {"state": dict(state), "finished": time.time(), "outcome": outcome})

    def open(self) -> Turn | None:
        """Return the open turn, or None."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(*_COLUMNS).where(turns.c.finished.is_(None))).one_or_none()
        return None if row is None else Turn(**row._mapping)

    def get(self, turn_id: str) -> Turn:
        """Return a turn; NotFound when there is none with this id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(*_COLUMNS).where(turns.c.id == turn_id)).one_or_none()
        if row is None:
            raise NotFound(f"There is no turn {turn_id!r}.", advice="See `kaizen steward status`.")
        return Turn(**row._mapping)

    def newest(self, limit: int = 20) -> list[Turn]:
        """Return the latest turns, the newest first."""
        query = sa.select(*_COLUMNS).order_by(turns.c.seq.desc()).limit(limit)
        with self._database.read() as connection:
            return [Turn(**row._mapping) for row in connection.execute(query)]

    def paused(self) -> bool:
        """Return whether an operator told the steward to start nothing."""
        with self._database.read() as connection:
            return bool(connection.scalar(sa.select(steward.c.paused)))

    def pause(self, paused: bool) -> None:
        """Tell the steward to start nothing, or to go on; with a decision of whoever is at the machine."""
        kind, reason = ("pause", "Nothing new is to begin.") if paused else ("resume", "The steward is to go on.")
        row = decisions.row(
            by=decisions.COMMAND, kind=kind, release="", turn="", reason=reason, evidence={"paused": paused}
        )
        self._set({"paused": paused}, row)

    def memory(self) -> Mapping[str, Any]:
        """Return what the steward remembers between turns (how far it has read, what it has spent)."""
        with self._database.read() as connection:
            kept: Mapping[str, Any] = connection.execute(sa.select(steward.c.memory)).scalar_one()
        return kept

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Store what the steward is to remember."""
        self._set({"memory": dict(memory)})

    def _set(self, values: Mapping[str, Any], decision: Mapping[str, Any] | None = None) -> None:
        update = sa.update(steward).values(**values)

        def write(connection: sa.Connection) -> None:
            connection.execute(update).close()
            if decision is not None:
                decisions.insert(connection, decision)

        self._database.write(write)

    def _update(self, turn_id: str, values: Mapping[str, Any]) -> None:
        update = sa.update(turns).where(turns.c.id == turn_id, turns.c.finished.is_(None)).values(**values)
        self._database.write(lambda connection: _is_open(connection.execute(update).rowcount))


def _start(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    if connection.scalar(sa.select(sa.func.count()).select_from(turns).where(turns.c.finished.is_(None))):
        raise Conflict("A turn is under way.", advice="Wait for its end; see `kaizen steward status`.")
    connection.execute(sa.insert(turns), dict(row))


def _is_open(count: int) -> None:
    if not count:
        raise NotFound("There is no open turn with this id.", advice="See `kaizen steward status`.")
