"""The watch over a promotion that was made by hand: a turn watches its own. Worse goes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from kaizen.config import Learning
from kaizen.ids import fingerprint
from kaizen.records import Decision, Rollout
from kaizen.steward.messages import Change, Observed
from kaizen.steward.record import remember
from kaizen.steward.rollout_change import BY, carry_out
from kaizen.steward.watch import Watcher
from kaizen.storage.ledger import Ledger

MEMORY = "guarded"  # version of the rollout whose watch is over


class Guard:
    """Has a thread of its own: a step of a turn may take hours, and a rollback must not."""

    def __init__(self, ledger: Ledger, settings: Learning, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._watcher = Watcher(ledger, settings, clock)
        self._made: tuple[int, Decision | None] = (0, None)  # version of the rollout, and the decision that made it

    def tick(self) -> bool:
        """Look once; return whether the watch over the present promotion came to an end."""
        rollout = self._ledger.rollout.state()
        if not self._is_mine(rollout):
            return False
        observed = self._watcher.look(rollout, "guard")
        if observed is None:
            return False
        if observed.decision == "rollback":
            carry_out(self._ledger, _rollback(rollout, observed), "")
        else:
            self._ledger.decisions.record(
                by=BY, kind="keep", release=rollout.stable or "", reason=observed.reason, evidence=observed.evidence
            )
            remember(self._ledger, {MEMORY: rollout.version})
        return True

    def _is_mine(self, rollout: Rollout) -> bool:
        """A promotion is the last that happened to the rollout, no turn made it, and its watch is not over."""
        if rollout.previous is None or rollout.mode != "off" or rollout.version == self._guarded():
            return False
        made = self._decision(rollout.version)
        return made is not None and made.kind == "promote" and not made.turn

    def _decision(self, version: int) -> Decision | None:
        """Looked for once: it stays what it is, and may lie far behind."""
        if self._made[0] != version:
            self._made = version, self._ledger.decisions.of_rollout(version)
        return self._made[1]

    def _guarded(self) -> int | None:
        version: int | None = self._ledger.turns.memory().get(MEMORY)
        return version


def _rollback(rollout: Rollout, observed: Observed) -> Change:
    return Change(
        id=fingerprint(["guard", rollout.version])[:12],
        kind="rollback",
        release=rollout.previous or "",
        reason=observed.reason,
        stable=rollout.stable or "",
        challenger="",
        evidence=observed.evidence,
    )
