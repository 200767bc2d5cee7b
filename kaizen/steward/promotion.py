"""Which promotion is to be watched: one that was made by hand. A turn watches its own."""

from __future__ import annotations

from dataclasses import replace

from kaizen.records import Decision, Rollout
from kaizen.steward.record import remember
from kaizen.storage.ledger import Ledger, decisions

MEMORY = "guarded"  # version of the rollout that a promotion made whose watch is over


class Promotions:
    """Reads what made the stable release; what was tried on users since, and by whom, changes nothing about that."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._made: tuple[int, Decision | None] = (0, None)  # version of the rollout, and the last switch then

    def under_watch(self, rollout: Rollout) -> Rollout | None:
        """Return what to watch: the promotion, without what is on trial; None when there is none, or its watch is over.

        It is measured by what was before the promotion. After a trial its time begins anew.
        """
        made = self._decision(rollout.version)
        if rollout.previous is None or made is None or made.kind != "promote" or made.release != rollout.stable:
            return None
        version = int(made.evidence[decisions.ROLLOUT_VERSION])
        if version == self._ledger.turns.memory().get(MEMORY) or self._was_watched_by_its_turn(made):
            return None
        impression, feedback = made.evidence.get(decisions.SINCE, (rollout.since_impression, rollout.since_feedback))
        alone = replace(rollout, challenger=None, mode="off", weight=0.0)
        return replace(alone, version=version, since_impression=impression, since_feedback=feedback)

    def end_watch(self, watched: Rollout) -> None:
        """Remember that it is over."""
        remember(self._ledger, {MEMORY: watched.version})

    def _was_watched_by_its_turn(self, made: Decision) -> bool:
        """Not when somebody ended the turn by what they did to the rollout meanwhile."""
        return bool(made.turn) and self._ledger.turns.get(made.turn).outcome != "overtaken"

    def _decision(self, version: int) -> Decision | None:
        """Looked for once: it stays what it is, and may lie far behind."""
        if self._made[0] != version:
            self._made = version, next(iter(self._ledger.decisions.switches(1)), None)
        return self._made[1]
