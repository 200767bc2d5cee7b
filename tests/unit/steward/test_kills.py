"""kill -9 at every point of a turn: before and after each thing that the steward does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from kaizen.steward import keeper as keeper_module
from kaizen.steward.keeper import Keeper
from kaizen.steward.messages import Change, Ended, Note, Run
from kaizen.steward.record import state_of
from kaizen.steward.state import TurnState
from kaizen.steward.turn import SETBACKS
from kaizen.storage.ledger import Ledger
from tests.unit.steward.world import MOST_TICKS, SETTINGS, Judgement, Killed, World

SAVE, CARRY_OUT = keeper_module.save, keeper_module.carry_out
USUAL = ["start_turn", "curate", "learn", "promote", "learn", "reject", "begin", "promote", "keep"]
Point = tuple[Hashable, str]


class Reaper:
    """Kills at each point that `wanted` holds for, the first time that it is reached."""

    def __init__(self, wanted: Callable[[int], bool]) -> None:
        self._wanted = wanted
        self.points: dict[Point, bool] = {}  # whether it killed there

    def around(self, name: Hashable, deed: Callable[[], Any]) -> Any:  # noqa: ANN401 (whatever the deed gives)
        """Do it, unless a kill comes before, and lose what it gave when a kill comes after."""
        self._pass((name, "before"))
        done = deed()
        self._pass((name, "after"))
        return done

    def _pass(self, point: Point) -> None:
        if point not in self.points:
            self.points[point] = self._wanted(len(self.points))
            if self.points[point]:
                raise Killed


def turn_under(reaper: Reaper, world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """Carry out one turn; return the candidate of its state."""

    def save(ledger: Ledger, state: TurnState, notes: tuple[Note, ...] = (), *, finish: bool = False) -> None:
        kinds = tuple(note.kind for note in notes)
        name = ("save", state.phase, len(state.attempts), kinds, finish)
        reaper.around(name, lambda: SAVE(ledger, state, notes, finish=finish))

    def carry_out(ledger: Ledger, change: Change, turn: str) -> Any:  # noqa: ANN401
        return reaper.around(("change", change.id), lambda: CARRY_OUT(ledger, change, turn))

    def keeper() -> Keeper:
        return Keeper(world.ledger, SETTINGS, run, lambda: world.now)

    def run(step: Run) -> Any:  # noqa: ANN401
        return reaper.around(("run", step.id), lambda: world.run(step))

    monkeypatch.setattr(keeper_module, "save", save)
    monkeypatch.setattr(keeper_module, "carry_out", carry_out)
    turn = world.until_ended(keeper(), renew=keeper)
    assert turn.outcome == "promoted"
    return state_of(turn).candidate


@pytest.mark.parametrize(
    "wanted",
    [lambda _: True, lambda point: point % 2 == 0, lambda point: point % 2 == 1, lambda point: point % 7 == 3],
    ids=["everywhere", "before each", "after each", "now and then"],
)
def test_the_verdict_is_the_same_and_nothing_is_done_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, wanted: Callable[[int], bool]
) -> None:
    world.verdicts = {1: Judgement("promote")}
    before = world.ledger.rollout.current()
    reaper = Reaper(wanted)
    candidate = turn_under(reaper, world, monkeypatch)
    state = world.ledger.rollout.state()
    assert len(world.ledger.turns.newest(10)) == 1
    assert (state.stable, state.previous, state.challenger) == (candidate, before, None)
    assert world.decided() == USUAL
    assert state.version == 3, "the configuration, the beginning and the promotion: each once"
    assert len(world.ledger.releases.list()) == 3
    assert max(Counter(step.id for step in world.ran).values()) <= 3, "run again only when what it gave was lost"
    assert sum(reaper.points.values()) >= 5


def under(world: World, deadly: str, kills: int) -> TurnState:
    """Carry out a turn in which a module takes the steward down so often; return its state."""
    left = kills

    def run(step: Run) -> Ended:
        nonlocal left
        if step.module == deadly and left:
            left -= 1
            raise Killed
        return world.run(step)

    def keeper() -> Keeper:
        return Keeper(world.ledger, SETTINGS, run, lambda: world.now)

    return state_of(world.until_ended(keeper(), renew=keeper))


def test_a_step_that_takes_the_steward_down_each_time_is_given_up(world: World) -> None:
    state = under(world, "train.ranker", kills=MOST_TICKS)
    first, second = state.attempts
    assert (first.rung, first.verdict, second.rung, second.verdict) == (1, "failed", 2, "reject")
    assert f"Phase learn failed {SETBACKS + 1} times: The steward ended" in first.reason


def test_a_steward_that_is_restarted_now_and_then_goes_on(world: World) -> None:
    state = under(world, "train.ranker", kills=SETBACKS)
    assert [one.verdict for one in state.attempts] == ["reject", "reject"]
    assert (state.setbacks, state.begun) == (0, False)
