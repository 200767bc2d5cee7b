"""The rollout's one row. Every change leaves a decision beside it, in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa

from kaizen.errors import Conflict
from kaizen.records import Rollout
from kaizen.storage.ledger import decisions, releases
from kaizen.storage.ledger.database import Database
from kaizen.storage.ledger.tables import feedback, impressions, rollout

_COLUMNS = tuple(rollout.c[name] for name in Rollout.__dataclass_fields__)


class RolloutRow:
    """Who gets what, changed by compare-and-set, so that of two who decide at once one loses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> str | None:
        """Return the id of the stable release; None before the first."""
        return self.state().stable

    def state(self) -> Rollout:
        """Return the row, with the version that `change` compares."""
        with self._database.read() as connection:
            return _state(connection)

    def change(
        self,
        wanted: Rollout,
        *,
        by: str,
        kind: str,
        reason: str,
        turn: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> Rollout:
        """Store `wanted` if nobody changed the row since it had `wanted.version`; return it as it is stored.

        The new row gets the next version, the time, and the present ends of impressions and feedback. The decision
        keeps the row `before` and `after`, and names the release that comes, or else the one that goes.

        Raises:
            Conflict: somebody changed it.
            NotFound: one of its releases does not exist.
        """

        def store(connection: sa.Connection) -> Rollout:
            before, stored = _change(connection, wanted)
            kept = {**(evidence or {}), **_told(before, stored)}
            release = _subject(before, stored)
            row = decisions.row(by=by, kind=kind, release=release, turn=turn, reason=reason, evidence=kept)
            decisions.insert(connection, row)
            return stored

        return self._database.write(store)


def _state(connection: sa.Connection) -> Rollout:
    return Rollout(**connection.execute(sa.select(*_COLUMNS)).one()._mapping)


def _change(connection: sa.Connection, wanted: Rollout) -> tuple[Rollout, Rollout]:
    """Return the row before and after."""
    for name in wanted.releases:
        releases.read(connection, name)
    before = _state(connection)
    stored = replace(
        wanted,
        version=wanted.version + 1,
        at=time.time(),
        since_impression=connection.scalar(sa.select(sa.func.max(impressions.c.seq))) or 0,
        since_feedback=connection.scalar(sa.select(sa.func.max(feedback.c.seq))) or 0,
    )
    values = {name: getattr(stored, name) for name in Rollout.__dataclass_fields__}
    changed = connection.execute(
        sa.update(rollout).where(rollout.c.version == wanted.version).values(**values)
    ).rowcount
    if not changed:
        raise Conflict("The rollout was changed by somebody else.", advice="Read its state again, then decide again.")
    return before, stored


def _told(before: Rollout, after: Rollout) -> dict[str, Any]:
    return {
        decisions.ROLLOUT_VERSION: after.version,
        decisions.SINCE: [after.since_impression, after.since_feedback],
        "before": asdict(before),
        "after": asdict(after),
    }


def _subject(before: Rollout, after: Rollout) -> str:
    """The release that a change is about: what goes, where nothing else comes in its place."""
    if before.stable == after.stable and before.challenger and not after.challenger:
        return before.challenger
    if before.stable == after.stable and before.previous and not after.previous:
        return before.previous
    return after.challenger or after.stable or ""
