"""The watch over what was done by hand, a promotion or a trial: a turn watches its own. Worse goes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from kaizen.config import Learning
from kaizen.ids import fingerprint
from kaizen.records import Rollout
from kaizen.steward.by_hand import end_watch, found_by_watch, tried_by_hand
from kaizen.steward.messages import Change, ChangeKind, Observed
from kaizen.steward.promotion import Promotions
from kaizen.steward.rollout_change import BY, carry_out
from kaizen.steward.watch import Watcher
from kaizen.storage.ledger import Ledger


class Guard:
    """Has a thread of its own: a step of a turn may take hours, and a rollback must not."""

    def __init__(self, ledger: Ledger, settings: Learning, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._watcher = Watcher(ledger, settings, clock)
        self._promotions = Promotions(ledger)

    def tick(self) -> bool:
        """Look once; return whether a watch came to an end."""
        rollout = self._ledger.rollout.state()
        if rollout.challenger is not None:
            return tried_by_hand(self._ledger, rollout) and self._watch_trial(rollout)
        watched = self._promotions.under_watch(rollout)
        return watched is not None and self._watch_promotion(watched)

    def _watch_trial(self, rollout: Rollout) -> bool:
        """Nothing but an alarm ends the trial: how long it goes on, and what comes of it, is for whoever began it."""
        observed = None if found_by_watch(self._ledger, rollout) else self._watcher.alarm(rollout)
        if observed is None:
            return False
        if observed.decision == "rollback":
            carry_out(self._ledger, _change("stop", rollout, observed), "")
        else:
            self._keep(rollout.challenger, observed)
            end_watch(self._ledger, rollout, observed.reason)
        return True

    def _watch_promotion(self, watched: Rollout) -> bool:
        observed = self._watcher.look(watched, "guard")
        if observed is None:
            return False
        if observed.decision == "rollback":
            carry_out(self._ledger, _change("rollback", watched, observed), "")
        else:
            self._keep(watched.stable, observed)
            self._promotions.end_watch(watched)
        return True

    def _keep(self, release: str | None, observed: Observed) -> None:
        self._ledger.decisions.record(
            by=BY, kind="keep", release=release or "", reason=observed.reason, evidence=observed.evidence
        )


def _change(kind: ChangeKind, rollout: Rollout, observed: Observed) -> Change:
    return Change(
        id=fingerprint(["guard", kind, rollout.version])[:12],
        kind=kind,
        release=(rollout.challenger if kind == "stop" else rollout.previous) or "",
        reason=observed.reason,
        stable=rollout.stable or "",
        challenger=rollout.challenger or "",
        evidence=observed.evidence,
    )
