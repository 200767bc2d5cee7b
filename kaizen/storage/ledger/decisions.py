"""Decisions: what was done to rollouts and by the steward, and why. Only ever added to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Decision
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import decisions

ROLLOUT_VERSION = "rollout_version"  # in the evidence of what changed the rollout: the version that it made
_SWITCHES = ("configure", "promote", "rollback")  # what gives the rollout another stable release


class Decisions:
    """All decisions in order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, *, by: str, kind: str, reason: str, release: str = "", turn: str = "", evidence: Mapping[str, Any]
    ) -> int:
        """Store a decision durably and return its `seq`."""
        added = row(by=by, kind=kind, release=release, turn=turn, reason=reason, evidence=evidence)
        return self._database.write(lambda connection: insert(connection, added))

    def get(self, seq: int) -> Decision:
        """Return one decision; NotFound when there is none."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(decisions).where(decisions.c.seq == seq)).one_or_none()
        if found is None:
            raise NotFound(f"There is no decision {seq}.", advice="List the decisions to see their numbers.")
        return Decision(**found._mapping)

    def of_rollout(self, version: int) -> Decision | None:
        """Return the decision that made this version of the rollout, however many came after it; None: none did."""
        written = sa.type_coerce(decisions.c.evidence, sa.Text)
        named = [written.contains(f'"{ROLLOUT_VERSION}":{version}{end}', autoescape=True) for end in ",}"]
        query = sa.select(decisions).where(sa.or_(*named)).order_by(decisions.c.seq.desc()).limit(1)
        with self._database.read() as connection:
            found = connection.execute(query).one_or_none()
        return None if found is None else Decision(**found._mapping)

    def switches(self) -> list[Decision]:
        """Return all decisions that made their release the stable one, the newest first."""
        query = sa.select(decisions).where(decisions.c.kind.in_(_SWITCHES)).order_by(decisions.c.seq.desc())
        with self._database.read() as connection:
            found = [Decision(**row._mapping) for row in connection.execute(query)]
        return [decision for decision in found if ROLLOUT_VERSION in decision.evidence]

    def newest(self, limit: int = 100, *, turn: str | None = None) -> list[Decision]:
        """Return the latest decisions, of one turn or of all, the newest first."""
        query = sa.select(decisions).order_by(decisions.c.seq.desc()).limit(limit)
        if turn is not None:
            query = query.where(decisions.c.turn == turn)
        with self._database.read() as connection:
            return [Decision(**found._mapping) for found in connection.execute(query)]


def row(*, by: str, kind: str, release: str, turn: str, reason: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a decision made now."""
    return {
        "at": time.time(),
        "by": by,
        "kind": kind,
        "release": release,
        "turn": turn,
        "reason": reason,
        "evidence": dict(evidence),
    }


def insert(connection: sa.Connection, added: Mapping[str, Any]) -> int:
    """Add a row within the caller's transaction and return its `seq`."""
    key: Any = connection.execute(sa.insert(decisions), dict(added)).inserted_primary_key
    return int(key[0])
