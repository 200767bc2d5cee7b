"""Watching a release on its users: a trial, a stage before it, or the time after a promotion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kaizen.config import Learning
from kaizen.evaluation.online import Bounds, OnlineTest, Outcome, decide
from kaizen.evaluation.replay import advance, evidence, open_test
from kaizen.records import Rollout
from kaizen.steward.messages import Observed, What
from kaizen.storage.ledger import Ledger

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class _End:
    """When a watch ends without a word from the test: after so many impressions, or hours."""

    impressions: int
    hours: float


class Watcher:
    """Reads the ledger onwards from look to look. What it holds is read again after a restart."""

    def __init__(self, ledger: Ledger, settings: Learning, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._weighed: tuple[OnlineTest, Outcome] | None = None
        self._bounds = Bounds(error_rate=settings.error_rate)

    def look(self, rollout: Rollout, what: What) -> Observed | None:
        """Return what the rows so far decide; None when nothing yet."""
        return self._observed(*self._weigh(rollout), what)

    def alarm(self, rollout: Rollout) -> Observed | None:
        """Return what a guard has against what is on trial, whatever people prefer; None when nothing yet.

        It ends where a turn's test would. A guard's chance of a false alarm is that of all looks at one stretch of
        impressions: looking at the newest ones only, for ever, would come to have something against any release.
        """
        test, outcome = self._weigh(rollout)
        kept = evidence(test, outcome, self._bounds)
        if outcome.code in outcome.figures["guards"]:
            return Observed(decision="rollback", reason=outcome.reason, evidence=kept)
        if len(test.seen) < self._settings.test_impressions:
            return None
        self._weighed = None
        reason = f"After {len(test.seen)} impressions, of which {self._seen(test)} count: {outcome.reason}"
        return Observed(decision="expired", reason=reason, evidence=kept)

    def said(self, rollout: Rollout) -> str:
        """What the rows so far say, in words."""
        return decide(advance(self._ledger, open_test(self._ledger, rollout)), self._bounds).reason

    def _weigh(self, rollout: Rollout) -> tuple[OnlineTest, Outcome]:
        """What was read, and what it says: weighed anew when a row has come since the last look."""
        before = self._weighed if self._weighed is not None and self._weighed[0].rollout == rollout else None
        if before is not None and not self._is_behind(before[0]):
            return before
        test = advance(self._ledger, before[0] if before is not None else open_test(self._ledger, rollout))
        self._weighed = test, decide(test, self._bounds)
        return self._weighed

    def _is_behind(self, test: OnlineTest) -> bool:
        ends = self._ledger.impressions.end(), self._ledger.feedback.end()
        return (test.impression_seq, test.feedback_seq) != ends

    def _observed(self, test: OnlineTest, outcome: Outcome, what: What) -> Observed | None:
        kept = evidence(test, outcome, self._bounds)
        if outcome.action == "rollback" or (outcome.action == "promote" and what == "test"):
            return Observed(decision=outcome.action, reason=outcome.reason, evidence=kept)
        seen, hours = self._seen(test), (self._clock() - test.rollout.at) / _HOUR
        end = self._end(what)
        if seen < end.impressions and hours < end.hours:
            return None
        return Observed(
            decision="promote" if what == "stage" and (seen >= end.impressions or _ends_by_time(test)) else "expired",
            reason=f"After {seen} impressions and {hours:.1f} hours: {outcome.reason}",
            evidence=kept,
        )

    def _seen(self, test: OnlineTest) -> int:
        arms = {"shadow": "shadow", "canary": "challenger"}
        arm = arms.get(test.rollout.mode)
        return sum(arm is None or one.arm == arm for one in test.seen.values())

    def _end(self, what: What) -> _End:
        settings = self._settings
        return {
            "stage": _End(settings.stage_impressions, settings.test_hours),
            "test": _End(settings.test_impressions, settings.test_hours),
            "guard": _End(settings.guard_impressions, settings.guard_hours),
        }[what]


def _ends_by_time(test: OnlineTest) -> bool:
    """Whether time alone may end a stage that no guard objects to: of a small team nobody may be in the canary."""
    return test.rollout.mode == "canary"
