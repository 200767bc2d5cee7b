"""Decisions: what was done to rollouts, to the steward and by it, and to the trusted set, and why. Only added to."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Decision
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import decisions

COMMAND = "command"  # by: somebody at the machine
# In the evidence of what changed the rollout: the version that it made, and the ends of impressions and feedback then.
ROLLOUT_VERSION = "rollout_version"
SINCE = "since"
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

    def switches(self, limit: int | None = None) -> list[Decision]:
        """Return the decisions that made their release the stable one, the newest first, all or `limit` of them."""
        written = sa.type_coerce(decisions.c.evidence, sa.Text)
        changed = written.contains(f'"{ROLLOUT_VERSION}":', autoescape=True)  # a judge's `promote` changes nothing
        query = sa.select(decisions).where(decisions.c.kind.in_(_SWITCHES), changed).order_by(decisions.c.seq.desc())
        with self._database.read() as connection:
            return [Decision(**row._mapping) for row in connection.execute(query.limit(limit))]

    def reports(self) -> set[str]:
        """Return the names of all evaluation reports that a decision was founded on."""
        named = sa.type_coerce(decisions.c.evidence, sa.Text).contains('"report":', autoescape=True)
        with self._database.read() as connection:
            found = connection.scalars(sa.select(decisions.c.evidence).where(named))
            return {str(evidence.get("report", "")) for evidence in found} - {""}

    def newest(
        self, limit: int = 100, *, turn: str | None = None, kinds: Collection[str] | None = None
    ) -> list[Decision]:
        """Return the latest decisions, of one turn or of all, of these kinds or of all, the newest first."""
        query = sa.select(decisions).order_by(decisions.c.seq.desc()).limit(limit)
        if turn is not None:
            query = query.where(decisions.c.turn == turn)
        if kinds is not None:
            query = query.where(decisions.c.kind.in_(kinds))
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
