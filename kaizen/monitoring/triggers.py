"""What starts a turn of learning: enough new feedback, drift, a fall in quality, the clock, or somebody's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kaizen.config import Learning

Kind = Literal["request", "quality", "drift", "feedback", "schedule"]
QUALITY = ("no_click", "thumbs_down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is known now.

    Attributes:
        new_feedback: judgements since those that the last turn read.
        idle_hours: since the last turn began, or since the first impression; None when there was neither.
        readings: of the latest drift report that no turn has answered yet (`Reading` as JSON).
        requested: somebody asked for a turn (`kaizen steward run-once`).
    """

    new_feedback: int
    idle_hours: float | None
    readings: Sequence[Mapping[str, Any]] = ()
    requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Why a turn starts, in words and figures."""

    kind: Kind
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, "reason": self.reason, "figures": dict(self.figures)}


def triggers(signs: Signs, settings: Learning) -> list[Trigger]:
    """Return every trigger that holds, the weightiest first; empty when there is nothing to do."""
    found = [*_requested(signs), *_changes(signs), *_feedback(signs, settings), *_schedule(signs, settings)]
    order = ("request", "quality", "drift", "feedback", "schedule")
    return sorted(found, key=lambda trigger: order.index(trigger.kind))


def _requested(signs: Signs) -> list[Trigger]:
    return [Trigger(kind="request", reason="Somebody asked for it.")] if signs.requested else []


def _changes(signs: Signs) -> list[Trigger]:
    return [
        Trigger(
            kind="quality" if reading["signal"] in QUALITY else "drift", reason=reading["words"], figures=dict(reading)
        )
        for reading in signs.readings
        if reading["alarm"]
    ]


def _feedback(signs: Signs, settings: Learning) -> list[Trigger]:
    if signs.new_feedback < settings.min_feedback:
        return []
    reason = f"{signs.new_feedback} new judgements; {settings.min_feedback} start a turn."
    return [Trigger(kind="feedback", reason=reason, figures={"new_feedback": signs.new_feedback})]


def _schedule(signs: Signs, settings: Learning) -> list[Trigger]:
    hours, every = signs.idle_hours, settings.schedule_hours
    if not every or hours is None or hours < every or not signs.new_feedback:
        return []
    reason = f"The last turn was {hours:.1f} hours ago, and there are {signs.new_feedback} new judgements."
    return [Trigger(kind="schedule", reason=reason, figures={"idle_hours": hours, "new_feedback": signs.new_feedback})]
