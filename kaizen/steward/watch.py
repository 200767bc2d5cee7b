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
        self._test: OnlineTest | None = None
        self._bounds = Bounds(error_rate=settings.error_rate)

    def look(self, rollout: Rollout, what: What) -> Observed | None:
        """Return what the rows so far decide; None when nothing yet."""
        test = self._read(rollout)
        return self._observed(test, decide(test, self._bounds), what)

    def alarm(self, rollout: Rollout) -> Observed | None:
        """Return what a guard has against what is on trial; None: nothing, whatever people prefer."""
        test = self._read(rollout)
        outcome = decide(test, self._bounds)
        if outcome.code not in outcome.figures["guards"]:
            return None
        return Observed(decision="rollback", reason=outcome.reason, evidence=evidence(test, outcome, self._bounds))

    def said(self, rollout: Rollout) -> str:
        """What the rows so far say, in words."""
        return decide(advance(self._ledger, open_test(self._ledger, rollout)), self._bounds).reason

    def _read(self, rollout: Rollout) -> OnlineTest:
        if self._test is None or self._test.rollout != rollout:
            self._test = open_test(self._ledger, rollout)
        self._test = advance(self._ledger, self._test)
        return self._test

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
