"""What the steward is at, as JSON: for the command and for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kaizen.config import Learning
from kaizen.monitoring.triggers import Signs
from kaizen.records import Turn
from kaizen.steward.by_hand import found_by_watch, waits
from kaizen.steward.drift_watch import MEMORY as DRIFT
from kaizen.steward.drift_watch import PAUSE_SECONDS, WINDOW_ROWS, bounds_of
from kaizen.steward.keeper import Keeper
from kaizen.steward.messages import Ended, Run, Watch
from kaizen.steward.promotion import Promotions
from kaizen.steward.record import SAVED, state_of
from kaizen.steward.turn import instruction
from kaizen.steward.watch import Watcher
from kaizen.storage.ledger import Ledger


def overview(ledger: Ledger, settings: Learning, now: float, *, decisions: int) -> dict[str, Any]:
    """Return the open turn, the triggers with their present figures, the budget and the latest decisions.

    `waits`: why no turn or trial begins now, whatever the triggers say; empty when one may.
    """
    keeper = Keeper(ledger, settings, _runs_nothing, lambda: now)
    turn = ledger.turns.open()
    return {
        "enabled": settings.steward,
        "paused": ledger.turns.paused(),
        "turn": None if turn is None else {**turn_record(turn), **_now(ledger, turn, settings)},
        "waits": _waits(ledger, turn, settings),
        "triggers": _triggers(ledger, keeper.signs(), settings),
        "drift": ledger.turns.memory().get(DRIFT, {}),
        "budget": {"cpu_s": settings.budget_cpu_seconds, "left_cpu_s": round(keeper.left_cpu_s(), 1)},
        "decisions": [asdict(one) for one in ledger.decisions.newest(decisions)],
    }


def turn_record(turn: Turn) -> dict[str, Any]:
    """A turn for people and programs: its state, flat."""
    state = state_of(turn).to_json()
    shown = ("phase", "stable", "candidate", "stage", "material", "attempts", "reason")
    return {
        "id": turn.id,
        "at": turn.at,
        "finished": turn.finished,
        "outcome": turn.outcome,
        "trigger": turn.trigger,
        **{name: state[name] for name in shown},
        "cpu_s": round(sum(step["cpu_s"] for step in state["spent"]), 2),
    }


def _now(ledger: Ledger, turn: Turn, settings: Learning) -> dict[str, Any]:
    """Since when the turn is where it is; what the users have said so far, while it watches them."""
    watched, users = isinstance(instruction(state_of(turn), settings), Watch), ""
    if watched:
        users = Watcher(ledger, settings, lambda: turn.at).said(ledger.rollout.state())
    return {"phase_since": turn.state.get(SAVED, turn.at), "users": users}


def _waits(ledger: Ledger, turn: Turn | None, settings: Learning) -> str:
    """With what the users have said so far of what it waits for."""
    rollout = ledger.rollout.state()
    why = waits(ledger, Promotions(ledger), rollout) if turn is None or state_of(turn).phase == "begin" else ""
    if not why or rollout.challenger is None:
        return why
    if found := found_by_watch(ledger, rollout):
        return f"{why} {found} It is watched no longer."
    return f"{why} {Watcher(ledger, settings, lambda: rollout.at).said(rollout)}"


def _triggers(ledger: Ledger, signs: Signs, settings: Learning) -> list[Mapping[str, Any]]:
    """Each with how far it is from starting a turn."""
    rows: list[Mapping[str, Any]] = [
        {"kind": "feedback", "now": signs.new_feedback, "needed": settings.min_feedback},
        {
            "kind": "schedule",
            "now": "" if signs.idle_hours is None else f"{signs.idle_hours:.1f} hours",
            "needed": f"{settings.schedule_hours:g} hours and new feedback" if settings.schedule_hours else "off",
        },
        *({"kind": one["signal"], "now": one["words"], "needed": "a change"} for one in signs.readings),
    ]
    return rows if signs.readings else [*rows, {"kind": "drift", "now": _until_measured(ledger), "needed": "a change"}]


def _until_measured(ledger: Ledger) -> str:
    kept = ledger.turns.memory().get(DRIFT)
    if kept is None:
        return "not measured yet"
    bounds = bounds_of(kept, ledger.impressions.end())
    more = max(0, bounds.since + WINDOW_ROWS - bounds.end)
    often = f"every {PAUSE_SECONDS / 60:g} minutes at most"
    return f"not measured; {more} more impressions make a window; one is measured {often}"


def _runs_nothing(step: Run) -> Ended:
    raise AssertionError(f"an overview runs nothing: {step.module}")
