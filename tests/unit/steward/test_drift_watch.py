"""When drift is measured, and what an alarm brings about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaizen.evaluation.observed import MOST_PATIENCE_SECONDS
from kaizen.records import Turn
from kaizen.steward import drift_watch
from kaizen.steward.keeper import Keeper
from kaizen.steward.record import remember, save, state_of
from kaizen.steward.state import TurnState
from tests.unit.steward.world import NO_FEEDBACK, SETTINGS, World

QUIET = SETTINGS.model_copy(update={"min_feedback": 100_000, "schedule_hours": 0})


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_watch, "REFERENCE_ROWS", 40)
    monkeypatch.setattr(drift_watch, "WINDOW_ROWS", 30)


def measured(world: World) -> list[tuple[str, ...]]:
    return [step.arguments[3::2] for step in world.ran if step.module == "jobs.measure_drift"]


def alarmed(world: World) -> Keeper:
    """A steward whose first measurement has just told of drift."""
    keeper, world.drifted = world.keeper(QUIET), True
    world.broken["jobs.curate"] = NO_FEEDBACK
    keeper.tick()
    world.people(80)
    world.now += drift_watch.PAUSE_SECONDS
    assert keeper.tick()
    return keeper


def test_each_window_is_measured_once_against_what_the_release_was_seen_with_first(world: World) -> None:
    keeper = world.keeper(QUIET)
    keeper.tick()  # from here on the release's reference is taken
    world.people(40)
    keeper.tick()
    assert measured(world) == []
    for _ in range(3):
        world.people(30)
        world.now += drift_watch.PAUSE_SECONDS
        keeper.tick()
        keeper.tick()
    assert measured(world) == [
        ("60", "100", "100", "130"), ("60", "100", "130", "160"), ("60", "100", "160", "190"),
    ]  # fmt: skip


def test_a_window_ends_where_nobody_is_about_to_click_any_more(world: World) -> None:
    keeper = world.keeper(QUIET)
    keeper.tick()
    world.people(75)
    world.now += drift_watch.PAUSE_SECONDS
    world.people(50)  # a burst just now: a minute later half of its clicks are under way
    assert keeper.tick()
    world.people(9)
    world.now += drift_watch.PAUSE_SECONDS
    assert keeper.tick()
    assert measured(world) == [("60", "100", "100", "135"), ("60", "100", "135", "194")]


def test_a_burst_and_then_nobody_is_measured_when_its_clicks_are_in(world: World) -> None:
    keeper = world.keeper(QUIET)
    keeper.tick()
    world.now += drift_watch.PAUSE_SECONDS
    world.people(80)
    assert not keeper.tick()
    world.now += MOST_PATIENCE_SECONDS - 60
    assert keeper.tick()
    assert measured(world) == [("60", "100", "100", "140")]


def test_a_new_reference_is_not_measured_against_at_once(world: World) -> None:
    keeper = alarmed(world)
    world.until_ended(keeper)
    keeper.tick()  # the turn has answered: a new reference begins
    begun = world.now
    while len(measured(world)) == 1:
        world.people(80)
        world.now += MOST_PATIENCE_SECONDS
        world.keeper(QUIET).tick()  # as after a restart
    assert world.now - begun >= drift_watch.PAUSE_SECONDS


def test_an_alarm_starts_a_turn_and_then_what_changed_is_normal(world: World) -> None:
    keeper = alarmed(world)
    turn = world.until_ended(keeper)
    assert turn.trigger == "They ask other things."
    end = world.ledger.impressions.end()
    keeper.tick()
    kept = world.ledger.turns.memory()["drift"]
    assert (kept["after"], kept.get("report")) == (end, None)
    assert not keeper.tick()


def test_an_alarm_is_answered_once_though_the_clock_was_set_back(world: World) -> None:
    world.now += 2e9  # ahead of the clock by which turns are told
    keeper = alarmed(world)
    world.until_ended(keeper)
    assert not keeper.tick()
    assert not keeper.tick()
    assert len(world.ledger.turns.newest(9)) == 1
    world.people(80)
    world.now -= 1e9
    world.people(80)
    world.now += MOST_PATIENCE_SECONDS
    before = len(measured(world))
    keeper.tick()
    assert len(measured(world)) == before + 1, "and drift is measured on"


def test_a_measurement_that_failed_starts_nothing(world: World) -> None:
    keeper = world.keeper(QUIET)
    world.broken["jobs.measure_drift"] = NO_FEEDBACK
    keeper.tick()
    world.people(80)
    world.now += drift_watch.PAUSE_SECONDS
    assert [keeper.tick(), keeper.tick()] == [True, False]
    assert world.ledger.turns.newest(1) == []
    assert "error" in world.ledger.turns.memory()["drift"]["report"]


def turn_that_ended(world: World) -> Turn:
    begun = TurnState(turn="", stable="", until_impression=0, until_feedback=0)
    turn = world.ledger.turns.start("It was time.", begun.to_json())
    save(world.ledger, replace(state_of(turn), outcome="nothing_to_learn"), finish=True)
    return turn


def test_an_alarm_that_the_version_before_told_is_answered_by_a_turn(world: World) -> None:
    """Its report does not say which turn was the newest then."""
    world.now = turn_that_ended(world).at + 60
    alarmed(world)
    kept = world.ledger.turns.memory()["drift"]
    del kept["turn"]
    remember(world.ledger, {"drift": kept})
    assert world.keeper(QUIET).tick(), "a turn begins"
    (turn,) = world.ledger.turns.newest(1)
    assert turn.trigger == "They ask other things."
    remember(world.ledger, {"drift": {**kept, "at": turn.at - 1}})
    assert not world.keeper(QUIET).signs().readings
