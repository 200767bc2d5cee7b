"""What somebody does to the rollout by hand: no turn of learning begins beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaizen.records import Rollout
from kaizen.steward.promotion import Promotions
from kaizen.steward.record import remember, state_of
from kaizen.storage.ledger import Ledger

MEMORY = "tried"  # `version` of the rollout whose trial by hand is watched no longer, and what the watch `found`


def tried_by_hand(ledger: Ledger, rollout: Rollout) -> bool:
    """Whether a release is on trial that is not the open turn's candidate."""
    turn = ledger.turns.open()
    return rollout.challenger is not None and (turn is None or state_of(turn).candidate != rollout.challenger)


def end_watch(ledger: Ledger, rollout: Rollout, found: str) -> None:
    """Remember what the watch over this trial found; a trial that is changed is watched anew."""
    remember(ledger, {MEMORY: {"version": rollout.version, "found": found}})


def found_by_watch(ledger: Ledger, rollout: Rollout) -> str:
    """What the watch over this trial found; empty while it goes on."""
    kept: Mapping[str, Any] = ledger.turns.memory().get(MEMORY, {})
    return str(kept["found"]) if kept.get("version") == rollout.version else ""


def waits(ledger: Ledger, promotions: Promotions, rollout: Rollout) -> str:
    """Why no turn, and no trial of one, begins now, whatever there is to learn; empty when one may."""
    if rollout.stable is None:
        return "No release is in service yet."
    if tried_by_hand(ledger, rollout):
        return f"{rollout.challenger} is on trial by hand, until you promote or stop it (`kaizen rollout`)."
    watched = promotions.under_watch(rollout)
    if watched is None:
        return ""
    return (
        f"{watched.stable} was promoted and is still watched against {watched.previous}; `kaizen rollout retire` "
        "ends that, and the way back."
    )
