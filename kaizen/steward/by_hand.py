"""What somebody does to the rollout by hand: no turn of learning begins beside it."""

from __future__ import annotations

from kaizen.records import Rollout
from kaizen.steward.promotion import Promotions
from kaizen.steward.record import state_of
from kaizen.storage.ledger import Ledger


def tried_by_hand(ledger: Ledger, rollout: Rollout) -> bool:
    """Whether a release is on trial that is not the open turn's candidate."""
    turn = ledger.turns.open()
    return rollout.challenger is not None and (turn is None or state_of(turn).candidate != rollout.challenger)


def waits(ledger: Ledger, promotions: Promotions) -> str:
    """Why no turn, and no trial of one, begins now, whatever there is to learn; empty when one may."""
    rollout = ledger.rollout.state()
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
