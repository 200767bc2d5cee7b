"""The turn's memory in the ledger: a state and what was decided on the way to it, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from kaizen.errors import NotFound
from kaizen.records import Turn
from kaizen.steward.messages import Note
from kaizen.steward.rollout_change import BY
from kaizen.steward.state import TurnState
from kaizen.storage.ledger import Ledger, decisions
from kaizen.storage.ledger.tables import steward, turns

REQUEST = "requested"  # in the steward's memory: the turn after which somebody asked for another
SAVED = "saved_at"  # beside a turn's state: since when it is as it is


def state_of(turn: Turn) -> TurnState:
    """The state of a turn as it was stored last."""
    return replace(TurnState.from_json(turn.state), turn=turn.id)


def save(ledger: Ledger, state: TurnState, notes: Sequence[Note] = (), *, finish: bool = False) -> None:
    """Store the state of an open turn, add its decisions, and close it if it is to be; NotFound when it is not open."""
    values: dict[str, Any] = {"state": {**state.to_json(), SAVED: time.time()}}
    if finish:
        values |= {"finished": time.time(), "outcome": state.outcome}
    lines = [_line(note, state.turn) for note in notes]
    ledger.submit(lambda connection: _save(connection, state.turn, values, lines)).result()


def remember(ledger: Ledger, changes: Mapping[str, Any]) -> None:
    """Merge `changes` into the steward's memory. In one transaction: commands write there, too."""
    ledger.submit(lambda connection: _remember(connection, changes)).result()


def ask(ledger: Ledger) -> None:
    """Leave word that a turn is wanted after the newest one: a second word before it begins changes nothing."""
    newest = next(iter(ledger.turns.newest(1)), None)
    remember(ledger, {REQUEST: newest.id if newest else ""})


def asked(ledger: Ledger) -> bool:
    """Whether somebody wants a turn after the newest one."""
    newest = next(iter(ledger.turns.newest(1)), None)
    wanted: bool = ledger.turns.memory().get(REQUEST) == (newest.id if newest else "")
    return wanted


def _line(note: Note, turn: str) -> dict[str, Any]:
    return decisions.row(
        by=BY, kind=note.kind, release=note.release, turn=turn, reason=note.reason, evidence=note.evidence
    )


def _save(connection: sa.Connection, turn: str, values: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
    update = sa.update(turns).where(turns.c.id == turn, turns.c.finished.is_(None)).values(**values)
    if not connection.execute(update).rowcount:
        raise NotFound("There is no open turn with this id.", advice="See `kaizen steward status`.")
    for line in lines:
        decisions.insert(connection, line)


def _remember(connection: sa.Connection, changes: Mapping[str, Any]) -> None:
    kept: Mapping[str, Any] = connection.execute(sa.select(steward.c.memory)).scalar_one()
    connection.execute(sa.update(steward).values(memory={**kept, **changes}))
