"""What starts a turn."""

from __future__ import annotations

import pytest

from kaizen.config import Learning
from kaizen.monitoring.triggers import Signs, triggers

SETTINGS = Learning(min_feedback=100, schedule_hours=24)
DRIFTED = {"signal": "queries", "alarm": True, "words": "They ask other things."}
FEWER_CLICKS = {"signal": "no_click", "alarm": True, "words": "They click less."}


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (Signs(new_feedback=99, idle_hours=1), []),
        (Signs(new_feedback=100, idle_hours=1), ["feedback"]),
        (Signs(new_feedback=1, idle_hours=24), ["schedule"]),
        (Signs(new_feedback=0, idle_hours=24), []),
        (Signs(new_feedback=0, idle_hours=None), []),
        (Signs(new_feedback=0, idle_hours=1, requested=True), ["request"]),
        (Signs(new_feedback=100, idle_hours=30, readings=(DRIFTED, FEWER_CLICKS)),
         ["quality", "drift", "feedback", "schedule"]),
        (Signs(new_feedback=0, idle_hours=1, readings=({**DRIFTED, "alarm": False},)), []),
    ],
)  # fmt: skip
def test_reasons_the_weightiest_first(signs: Signs, expected: list[str]) -> None:
    assert [trigger.kind for trigger in triggers(signs, SETTINGS)] == expected


def test_a_reason_has_its_figures() -> None:
    (trigger,) = triggers(Signs(new_feedback=120, idle_hours=2), SETTINGS)
    assert trigger.record() == {
        "kind": "feedback", "reason": "120 new judgements; 100 start a turn.", "figures": {"new_feedback": 120},
    }  # fmt: skip


def test_no_schedule() -> None:
    assert triggers(Signs(new_feedback=5, idle_hours=1000), Learning(schedule_hours=0)) == []
