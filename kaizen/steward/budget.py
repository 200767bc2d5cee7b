"""What learning has cost lately."""

from __future__ import annotations

from collections.abc import Sequence

from kaizen.records import Turn
from kaizen.steward.state import TurnState

_DAY_SECONDS = 86_400.0


def spent_cpu_s(turns: Sequence[Turn], now: float) -> float:
    """Return the CPU seconds of all steps of `turns` that ended in the last 24 hours."""
    steps = [step for turn in turns for step in TurnState.from_json(turn.state).spent]
    return sum(step.cpu_s for step in steps if step.at > now - _DAY_SECONDS)
