"""A release that was promoted or put on trial by hand and proves worse goes back by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaizen import rollout
from kaizen.evaluation.online import decide
from kaizen.evaluation.replay import replay
from kaizen.ids import fingerprint
from kaizen.records import Impression, RolloutMode
from kaizen.steward import watch
from kaizen.steward.overview import overview
from kaizen.steward.record import ask
from tests.unit.steward.world import SETTINGS, Judgement, World


def promote_by_hand(world: World) -> tuple[str, str]:
    """Make another release stable; return the one before and this one."""
    state = world.ledger.rollout.state()
    other = world.ledger.releases.record({"retrieval": {"fingerprint": fingerprint("other")}}, parent=state.stable)
    wanted = rollout.promote(state, other.id)
    world.ledger.rollout.change(wanted, by="k1", kind="promote", reason="I want it.")
    return state.stable or "", other.id


def try_by_hand(world: World, mode: RolloutMode = "canary", weight: float = 0.5) -> str:
    """Put another release on trial; return it."""
    state = world.ledger.rollout.state()
    other = world.ledger.releases.record({"retrieval": {"fingerprint": fingerprint("tried")}}, parent=state.stable)
    wanted = rollout.begin(state, other.id, mode, weight)
    world.ledger.rollout.change(wanted, by="k1", kind="begin", reason="I wonder.")
    return other.id


def stop_by_hand(world: World) -> None:
    wanted = rollout.stop(world.ledger.rollout.state())
    world.ledger.rollout.change(wanted, by="k1", kind="stop", reason="I know enough.")


def until_it_ends(world: World, guard_impressions: int = 5000) -> None:
    """People come until a watch has ended, 500 of them at most."""
    guard, impressions = world.guard(SETTINGS.model_copy(update={"guard_impressions": guard_impressions})), 0
    while not guard.tick():
        world.people(20)
        impressions += 20
        assert impressions <= 500


def test_worse_goes_back_within_500_impressions(world: World) -> None:
    world.people(240)
    before, worse = promote_by_hand(world)
    world.stable_is_liked = False
    until_it_ends(world)
    state = world.ledger.rollout.state()
    assert (state.stable, state.previous) == (before, worse)
    (last,) = world.ledger.decisions.newest(1)
    assert (last.by, last.kind, last.release, last.turn) == ("steward", "rollback", before, "")
    assert not world.guard().tick(), "a rollback is no promotion: nothing is to be guarded"


def test_a_promotion_is_watched_however_much_was_decided_since(world: World) -> None:
    world.people(240)
    before, _ = promote_by_hand(world)
    for turn in range(10):
        for kind in ("start_turn", "curate", "learn", "reject", "learn", "reject", "end_turn"):
            world.ledger.decisions.record(by="steward", kind=kind, reason="So.", turn=f"turn_{turn}", evidence={})
    world.stable_is_liked = False
    until_it_ends(world)
    assert world.ledger.rollout.current() == before


def test_as_good_stays_and_is_watched_no_longer(world: World) -> None:
    world.people(240)
    _, other = promote_by_hand(world)
    guard = world.guard()
    world.people(SETTINGS.guard_impressions)
    assert [guard.tick(), guard.tick()] == [True, False]
    assert world.ledger.rollout.current() == other
    assert world.decided() == ["keep"]


def test_what_the_configuration_asked_for_is_not_touched(world: World) -> None:
    world.people(240)
    state = world.ledger.rollout.state()
    other = world.ledger.releases.record({"retrieval": {"fingerprint": "1"}}, parent=state.stable)
    world.ledger.rollout.change(rollout.promote(state, other.id), by="command", kind="configure", reason="It changed.")
    world.stable_is_liked = False
    world.people(400)
    assert not world.guard().tick()


def test_nothing_is_learnt_while_a_promotion_is_watched(world: World) -> None:
    """A trial of the steward's own would have ended the watch for good."""
    world.people(240)
    before, _ = promote_by_hand(world)
    world.verdicts, world.stable_is_liked = {1: Judgement("promote")}, False
    keeper = world.keeper()
    ask(world.ledger)
    assert not keeper.tick()
    until_it_ends(world)
    assert world.ledger.rollout.current() == before
    assert keeper.tick(), "now the turn begins"


def test_a_turns_trial_waits_for_the_watch_over_a_promotion(world: World) -> None:
    """Somebody went away from the stable release and came back while the turn learnt."""
    world.people(240)
    world.verdicts = {1: Judgement("promote")}
    keeper = world.keeper()
    while (turn := world.ledger.turns.open()) is None or turn.state["phase"] != "begin":
        keeper.tick()
    before, _ = promote_by_hand(world)
    wanted = rollout.promote(world.ledger.rollout.state(), before)
    world.ledger.rollout.change(wanted, by="k1", kind="promote", reason="Better so.")
    assert not keeper.tick()
    guard = world.guard()
    world.people(SETTINGS.guard_impressions)
    assert guard.tick()
    assert keeper.tick()
    assert world.ledger.rollout.state().challenger is not None


def test_a_promotion_is_watched_on_after_a_trial_by_hand(world: World) -> None:
    world.people(240)
    before, _ = promote_by_hand(world)
    try_by_hand(world, "interleave", 1.0)
    guard = world.guard()
    world.people(SETTINGS.guard_impressions + 100)
    world.now += SETTINGS.guard_hours * 3600
    assert not guard.tick()
    stop_by_hand(world)
    world.now = world.ledger.rollout.state().at
    assert not guard.tick(), "what the trial showed, and its time, do not count"
    world.stable_is_liked = False
    until_it_ends(world)
    assert world.ledger.rollout.current() == before
    (last,) = world.ledger.decisions.newest(1)
    assert replay(world.ledger, last.seq).same


def test_a_challenger_that_cannot_answer_takes_no_promotion_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it could not, the stable release did, and said that something was lacking."""
    world.people(240)
    _, promoted = promote_by_hand(world)
    tried, record = try_by_hand(world), world.ledger.impressions.submit_record

    def submit(shown: Impression) -> object:
        if shown.arm == "challenger":
            shown = replace(shown, arm="stable", release=promoted, challenger=tried, degraded=("challenger-failed",))
        return record(shown)

    monkeypatch.setattr(world.ledger.impressions, "submit_record", submit)
    until_it_ends(world)
    assert world.ledger.rollout.state().challenger is None
    until_it_ends(world, guard_impressions=400)
    assert world.ledger.rollout.current() == promoted
    assert world.decided() == ["stop", "keep"]


def test_a_promotion_of_a_turn_that_somebody_ended_is_watched_on(world: World) -> None:
    world.people(200)
    world.verdicts = {1: Judgement("promote")}
    before, keeper = world.ledger.rollout.current(), world.keeper()
    while world.ledger.rollout.current() == before:
        if not keeper.tick():
            world.people()
    try_by_hand(world)
    assert world.until_ended(keeper).outcome == "overtaken"
    stop_by_hand(world)
    world.stable_is_liked = False
    until_it_ends(world)
    assert world.ledger.rollout.current() == before


def faulty_challenger(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the challenger answers lacks a shard."""
    record = world.ledger.impressions.submit_record

    def submit(shown: Impression) -> object:
        lacks = {"coverage": 0.0, "degraded": ("shard-unavailable",)} if shown.arm == "challenger" else {}
        return record(replace(shown, **lacks))  # type: ignore[arg-type]

    monkeypatch.setattr(world.ledger.impressions, "submit_record", submit)


def test_a_trial_by_hand_whose_answers_are_faulty_is_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before, tried = world.ledger.rollout.current(), try_by_hand(world)
    faulty_challenger(world, monkeypatch)
    until_it_ends(world)
    state = world.ledger.rollout.state()
    assert (state.stable, state.challenger) == (before, None)
    (last,) = world.ledger.decisions.newest(1)
    assert (last.by, last.kind, last.turn) == ("steward", "stop", "")
    assert "partial or degraded" in last.reason
    assert replay(world.ledger, last.seq).same
    assert world.ledger.releases.get(tried), "it stays a release"
    assert world.keeper().tick(), "and the steward learns again"


def test_the_watch_over_a_trial_by_hand_ends_where_a_turns_would(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = try_by_hand(world)
    settings = SETTINGS.model_copy(update={"test_impressions": 100})
    guard = world.guard(settings)
    world.people(90)
    assert not guard.tick()
    world.people(10)
    assert [guard.tick(), guard.tick()] == [True, False]
    (last,) = world.ledger.decisions.newest(1)
    assert (last.kind, last.release, last.turn) == ("keep", tried, "")
    assert replay(world.ledger, last.seq).same
    monkeypatch.delattr(watch.Watcher, "said")  # it reads the trial
    waits = overview(world.ledger, settings, world.now, decisions=1)["waits"]
    assert f"{tried} is on trial by hand" in waits
    assert "After 100 impressions, of which 50 count: No guard" in waits
    assert "watched no longer" in waits
    assert not world.guard(settings).tick(), "as after a restart"
    state = world.ledger.rollout.state()
    assert state.challenger == tried
    world.ledger.rollout.change(rollout.adjust(state, "canary", 0.4), by="k1", kind="adjust", reason="More.")
    faulty_challenger(world, monkeypatch)
    until_it_ends(world)
    assert world.ledger.rollout.state().challenger is None, "what was changed is watched anew"


def test_nothing_is_weighed_again_before_a_row_has_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    weighed = []
    monkeypatch.setattr(watch, "decide", lambda *given: weighed.append(1) or decide(*given))
    try_by_hand(world)
    guard = world.guard()
    for _ in range(2):
        world.people(10)
        assert not any(guard.tick() for _ in range(3))
    assert len(weighed) == 2


@pytest.mark.parametrize("likes", [True, False])
def test_what_people_prefer_ends_no_trial_by_hand(world: World, likes: bool) -> None:
    tried, world.challenger_wins = try_by_hand(world, "interleave", 1.0), likes
    guard = world.guard()
    for _ in range(5):
        world.people(100)
        world.now += SETTINGS.test_hours * 3600
        assert not guard.tick()
    assert world.ledger.rollout.state().challenger == tried
    assert world.decided() == []


def test_the_trial_of_a_turn_is_not_the_guards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.verdicts = {1: Judgement("promote")}
    keeper = world.keeper(SETTINGS.model_copy(update={"test_mode": "ab"}))
    while world.ledger.rollout.state().mode != "canary":
        if not keeper.tick():
            world.people()
    faulty_challenger(world, monkeypatch)
    world.people(400)
    assert not world.guard().tick()
    keeper.tick()
    keeper.tick()
    assert world.until_ended(keeper).outcome == "not_better"
