"""What the fleet decides, and how long it waits before it builds again what cannot be built."""

from __future__ import annotations

from kaizen.fleet import Patience, Plan, plan


def test_plan() -> None:
    decided = plan(
        ["new", "well", "hung"],
        ["well", "hung", "left", "leaving"],
        silent_seconds={"well": 1, "hung": 11, "left": 99},
        hang_seconds=10,
        unneeded_seconds={"left": 30, "leaving": 29},
        linger_seconds=30,
    )
    assert decided == Plan(start=("new",), replace=("hung",), end=("left",))


def test_what_does_not_come_up_is_built_ever_more_seldom() -> None:
    patience = Patience(most_seconds=5)
    starts = []
    for now in range(30):
        if patience.may_start("bad", now):
            patience.started("bad", now)
            starts.append(now)
    assert starts == [0, 1, 3, 7, 12, 17, 22, 27]
    assert patience.may_start("other", 0)
    patience.forget("bad")
    assert patience.may_start("bad", 30)
