"""Changing the rollout as a turn asks, once: a change that was made before a kill is known again by its id."""

from __future__ import annotations

from kaizen import rollout
from kaizen.errors import Conflict, InvalidInput, NotFound
from kaizen.records import Rollout
from kaizen.steward.messages import Change, Changed, Overtaken
from kaizen.storage.ledger import Ledger

BY = "steward"
_SINCE = 50  # decisions of a turn among which one of its changes is looked for: it makes a dozen


def carry_out(ledger: Ledger, change: Change, turn: str) -> Changed | Overtaken:
    """Make `change` unless it was made already, or the rollout is no longer as the turn left it.

    Raises KaizenError when the ledger does not say whether it was made: asked again, it is known by its id.
    """
    if any(made.evidence.get("change") == change.id for made in ledger.decisions.newest(_SINCE, turn=turn)):
        return Changed()
    state = ledger.rollout.state()
    if other := overtaken(state, change.stable, change.challenger):
        return other
    try:
        ledger.rollout.change(
            _wanted(state, change), by=BY, kind=change.kind, reason=change.reason, turn=turn,
            evidence={**change.evidence, "change": change.id},
        )  # fmt: skip
    except (Conflict, NotFound, InvalidInput) as error:
        return Overtaken(reason=str(error))
    return Changed()


def overtaken(state: Rollout, stable: str, challenger: str) -> Overtaken | None:
    """Return why the rollout is not as a turn left it; None when it is."""
    if state.stable != stable:
        return Overtaken(reason=f"Somebody else made {state.stable} the stable release, in the place of {stable}.")
    if (state.challenger or "") != challenger:
        return Overtaken(
            reason=f"Somebody else changed what is on trial: {state.challenger or 'nothing'}, "
            f"not {challenger or 'nothing'}."
        )
    return None


def _wanted(state: Rollout, change: Change) -> Rollout:
    if change.kind == "begin":
        return rollout.begin(state, change.release, change.mode, change.weight)
    if change.kind == "adjust":
        return rollout.adjust(state, change.mode, change.weight)
    if change.kind == "promote":
        return rollout.promote(state, change.release)
    return rollout.stop(state) if change.kind == "stop" else rollout.rollback(state)
