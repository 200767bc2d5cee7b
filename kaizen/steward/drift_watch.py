"""When drift is measured: once for every window of traffic, in a process of its own, because it embeds queries.

A window ends where nobody is any more about to click: what came later belongs to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaizen.evaluation.observed import MOST_PATIENCE_SECONDS
from kaizen.ids import fingerprint
from kaizen.records import Turn
from kaizen.steward.messages import Ended, Run
from kaizen.steward.record import remember
from kaizen.storage.ledger import Ledger

REFERENCE_ROWS = 1000  # impressions from when the release was first seen: what it is used for
WINDOW_ROWS = 500
MOST_ROWS = 2000  # newest of a window that are read
PAUSE_SECONDS = 900.0  # between measurements, and from a new reference to the first one
MEMORY = "drift"


@dataclass(frozen=True, slots=True)
class Bounds:
    """`seq`s of impressions: the reference is in (after, until], the window in (since, end]."""

    after: int
    until: int
    since: int
    end: int


class DriftWatch:
    """Keeps what was measured last in the steward's memory: `release`, `after`, `checked`, `at`, `report`, `turn`.

    `at`: when that was, or when the reference began. `turn`: the newest one when the report was made.
    """

    def __init__(self, ledger: Ledger, run: Callable[[Run], Ended], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._run = run
        self._clock = clock

    def look(self) -> bool:
        """Measure drift if a whole window has come since the last time; return whether it did."""
        kept, stable, now = self._kept(), self._ledger.rollout.current(), self._clock()
        if stable is None:
            return False
        if kept.get("release") != stable or (_alarms(kept) and self._is_answered(kept)):
            end = self._ledger.impressions.end()
            remember(self._ledger, {MEMORY: {"release": stable, "after": end, "checked": 0, "at": now}})
            return False
        if 0 <= now - kept["at"] < PAUSE_SECONDS:  # a clock that was set back delays nothing
            return False
        bounds = bounds_of(kept, self._ledger.impressions.end(now - MOST_PATIENCE_SECONDS))
        if bounds.end - bounds.since < WINDOW_ROWS:
            return False
        ended = self._run(measurement(stable, bounds))
        report = ended.output if ended.output is not None else {"error": ended.error}
        told = {"checked": bounds.end, "at": self._clock(), "report": report, "turn": self._newest_turn()}
        remember(self._ledger, {MEMORY: {**kept, **told}})
        return True

    def unanswered(self) -> Sequence[Mapping[str, Any]]:
        """The readings of the latest report, unless a turn began after it."""
        kept = self._kept()
        readings: Sequence[Mapping[str, Any]] = kept.get("report", {}).get("readings", ())
        return () if self._is_answered(kept) else readings

    def _kept(self) -> Mapping[str, Any]:
        kept: Mapping[str, Any] = self._ledger.turns.memory().get(MEMORY, {})
        return kept

    def _is_answered(self, kept: Mapping[str, Any]) -> bool:
        """Whether a turn began after the report. After an alarm, what changed is then what is normal, and a new
        reference is taken."""
        newest = next(iter(self._ledger.turns.newest(1)), None)
        if "turn" not in kept:  # of a version that knew the time only
            return newest is not None and newest.at >= kept.get("at", 0.0)
        return bool(kept["turn"] != _id_of(newest))

    def _newest_turn(self) -> str:
        """Its id, and not its time, tells what came first: a clock may be set back."""
        return _id_of(next(iter(self._ledger.turns.newest(1)), None))


def _id_of(turn: Turn | None) -> str:
    return "" if turn is None else turn.id


def _alarms(kept: Mapping[str, Any]) -> bool:
    return any(one["alarm"] for one in kept.get("report", {}).get("readings", ()))


def bounds_of(kept: Mapping[str, Any], end: int) -> Bounds:
    """The reference's rows, and those that came since the last measurement."""
    until = kept["after"] + REFERENCE_ROWS
    return Bounds(after=kept["after"], until=until, since=max(until, kept["checked"], end - MOST_ROWS), end=end)


def measurement(release: str, bounds: Bounds) -> Run:
    """The command that measures drift between these bounds."""
    arguments = (
        "--release", release, "--after", str(bounds.after), "--until", str(bounds.until),
        "--since", str(bounds.since), "--end", str(bounds.end),
    )  # fmt: skip
    return Run(id=fingerprint(["drift", *arguments])[:12], module="jobs.measure_drift", arguments=arguments)
