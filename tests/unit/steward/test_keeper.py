"""Turns from their trigger to their end, as a steward carries them out."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest

from kaizen import rollout
from kaizen.config import Learning
from kaizen.errors import BadModel, Unavailable
from kaizen.evaluation.observed import level
from kaizen.evaluation.online import Bounds, begin, decide
from kaizen.records import Document, Rollout, RolloutMode
from kaizen.steward import keeper as keeper_module
from kaizen.steward.messages import Change, Changed, Watch
from kaizen.steward.record import ask, state_of
from kaizen.steward.state import Attempt, TurnState
from kaizen.steward.turn import after, instruction
from kaizen.steward.watch import Watcher
from tests.unit.steward.world import MOST_TICKS, NO_FEEDBACK, SETTINGS, Judgement, World, failed


def test_a_better_ranker_is_promoted_and_kept(world: World) -> None:
    before = world.ledger.rollout.current()
    world.verdicts = {1: Judgement("promote")}
    turn = world.until_ended(world.keeper())
    state = world.ledger.rollout.state()
    assert (turn.outcome, state.previous, state.mode) == ("promoted", before, "off")
    assert state.stable == state_of(turn).candidate
    assert world.decided() == [
        "start_turn", "curate", "learn", "promote", "learn", "reject", "begin", "promote", "keep",
    ]  # fmt: skip
    assert {one.turn for one in world.ledger.decisions.newest(9)} == {turn.id}


def test_each_turn_judges_on_its_own_data(world: World) -> None:
    """Also where it comes to a release that was learnt from others before."""
    for _ in range(2):
        ask(world.ledger)
        keeper = world.keeper()
        keeper.tick()
        material = state_of(world.until_ended(keeper)).material
        assert material is not None
        judged = [step for step in world.ran if step.module == "jobs.judge"][-2:]
        assert {step.arguments[3:] for step in judged} == {("--dataset", material.dataset)}
        world.people(60)


def test_the_largest_gain_goes_to_the_users_and_rung_1_is_fitted_again_on_rung_2(world: World) -> None:
    world.verdicts = {1: Judgement("promote", 0.01), 2: Judgement("promote", 0.03)}
    turn = world.until_ended(world.keeper())
    tried = state_of(turn).attempts
    assert [(one.rung, one.parent) for one in tried] == [
        (1, tried[0].parent), (2, tried[0].parent), (1, tried[1].release),
    ]  # fmt: skip
    assert state_of(turn).candidate == tried[1].release


def test_a_sweep_that_finds_nothing_better_is_a_rung_that_was_tried(world: World) -> None:
    world.trust(100)
    world.swept = "No trial is proven better: keep what you have."
    turn = world.until_ended(world.keeper())
    assert [(one.rung, one.release != "", one.reason) for one in state_of(turn).attempts] == [
        (1, True, "Rung 1 is judged so."), (0, False, world.swept), (2, True, "Rung 2 is judged so."),
    ]  # fmt: skip


def test_nothing_is_swept_by_judgements_on_documents_that_are_not_there(world: World) -> None:
    world.trust(100)
    world.ledger.documents.delete("t", "c")
    world.until_ended(world.keeper())
    assert "tune.sweep" not in {step.module for step in world.ran}


def test_what_a_sweep_found_is_judged_and_tried_like_what_was_learnt(world: World) -> None:
    world.trust(100)
    world.verdicts = {0: Judgement("promote", 0.05), 2: Judgement("promote", 0.03)}
    state = state_of(world.until_ended(world.keeper()))
    assert (state.outcome, state.candidate) == ("promoted", state.attempts[1].release)
    assert world.ledger.candidates.get(state.candidate).turn == state.turn


def test_what_proves_no_better_never_meets_a_user(world: World) -> None:
    before = world.ledger.rollout.state()
    turn = world.until_ended(world.keeper())
    assert turn.outcome == "rejected"
    assert world.ledger.rollout.state() == before
    assert "Rung 1: reject" in state_of(turn).reason


def test_what_the_users_do_not_prefer_is_taken_away(world: World) -> None:
    before = world.ledger.rollout.state().stable
    world.verdicts, world.challenger_wins = {1: Judgement("promote")}, False
    turn = world.until_ended(world.keeper())
    state = world.ledger.rollout.state()
    assert (turn.outcome, state.stable, state.challenger) == ("not_better", before, None)


def test_what_is_worse_once_it_is_promoted_goes_back(world: World) -> None:
    before = world.ledger.rollout.state().stable
    world.people(200)
    world.verdicts, world.stable_is_liked = {1: Judgement("promote")}, False
    settings = SETTINGS.model_copy(update={"guard_impressions": 5000})
    turn = world.until_ended(world.keeper(settings))
    assert (turn.outcome, world.ledger.rollout.state().stable) == ("rolled_back", before)
    assert world.decided()[-2:] == ["rollback", "end_turn"]


def test_shadow_then_canary_then_a_part_of_the_users(world: World) -> None:
    world.verdicts = {1: Judgement("promote")}
    keeper = world.keeper(SETTINGS.model_copy(update={"test_mode": "ab"}))
    modes = [world.ledger.rollout.state().mode]
    while modes[-1] != "ab":
        if not keeper.tick():
            world.people()
        if (mode := world.ledger.rollout.state().mode) != modes[-1]:
            modes.append(mode)
    assert modes == ["off", "shadow", "canary", "ab"]


@pytest.mark.parametrize(("rung", "mode"), [(1, "interleave"), (3, "interleave"), (4, "shadow")])
def test_what_learnt_to_write_is_never_interleaved(rung: int, mode: str) -> None:
    """Answers are of one release alone; the other candidate of the turn changes nothing."""
    attempts = (Attempt(rung=4, parent="s", release="other"), Attempt(rung=rung, parent="s", release="c"))
    state = TurnState(turn="t", stable="s", until_impression=9, until_feedback=9, phase="begin",
                      attempts=attempts, candidate="c")  # fmt: skip
    begun = instruction(state, SETTINGS)
    assert isinstance(begun, Change)
    assert begun.mode == mode
    following, _ = after(state, Changed(), SETTINGS)
    assert following.stage == mode
    watch = instruction(following, SETTINGS)
    assert isinstance(watch, Watch)
    assert watch.what == ("stage" if rung == 4 else "test")


def test_of_interleaved_lists_all_may_be_tried_and_of_users_half() -> None:
    attempt = Attempt(rung=4, parent="s", release="c")
    state = TurnState(turn="t", stable="s", until_impression=9, until_feedback=9, phase="promote", attempts=(attempt,),
                      candidate="c", stage="canary")  # fmt: skip
    weights = [instruction(state, SETTINGS.model_copy(update={"test_weight": weight})) for weight in (1.0, 0.3)]
    assert [(change.mode, change.weight) for change in weights if isinstance(change, Change)] == [
        ("ab", 0.5),
        ("ab", 0.3),
    ]


@pytest.mark.parametrize(("mode", "decision"), [("shadow", "expired"), ("canary", "promote")])
def test_time_ends_a_canary_that_nobody_of_a_small_team_is_in(mode: RolloutMode, decision: str) -> None:
    test = begin(Rollout(version=1, stable="s", challenger="c", mode=mode, weight=0.05), level([], {}))
    watcher = Watcher(Mock(), SETTINGS, lambda: SETTINGS.test_hours * 3600 + 1)
    observed = watcher._observed(test, decide(test, Bounds()), "stage")
    assert observed is not None and observed.decision == decision


def test_an_embedder_is_judged_when_its_index_is_built(world: World) -> None:
    world.verdicts = {3: Judgement("promote")}
    settings = SETTINGS.model_copy(update={"max_rung": 3, "embedder_min_queries": 300, "budget_cpu_seconds": 1e6})
    turn = world.until_ended(world.keeper(settings))
    modules = [step.module for step in world.ran]
    built = modules.index("jobs.build_index")
    assert modules[built - 1 : built + 2] == ["train.embedder", "jobs.build_index", "jobs.judge"]
    assert world.ran[built].arguments == ("--release", state_of(turn).attempts[2].release)
    assert turn.outcome == "promoted"


def ingested(world: World, cpu_seconds: float) -> None:
    """One document is there, and taking it in took so long: as long as an index of it may take."""
    world.ledger.documents.upsert(Document(tenant="t", id="d", title="", text="A pump."))
    run = world.ledger.runs.begin("t", ["d"])
    world.ledger.runs.finish(run, counts={"documents": 1}, cpu_seconds=cpu_seconds)


def test_an_embedder_whose_index_the_budget_does_not_allow_any_more_is_left_out(world: World) -> None:
    ingested(world, 3000)
    world.verdicts, world.costs = {3: Judgement("promote")}, {"train.embedder": 10_000}
    settings = SETTINGS.model_copy(update={"max_rung": 3, "embedder_min_queries": 300, "budget_cpu_seconds": 12_000})
    turn = world.until_ended(world.keeper(settings))
    left_out = state_of(turn).attempts[2]
    assert (turn.outcome, left_out.rung, left_out.verdict, left_out.cpu_s) == ("rejected", 3, "left_out", 10_000)
    assert "index of 1 documents may take 3000 CPU seconds and the budget leaves 19" in left_out.reason
    assert f"kaizen judge {left_out.release}" in left_out.reason
    assert world.decided()[-3:] == ["learn", "left_out", "end_turn"]
    assert "jobs.build_index" not in {step.module for step in world.ran}
    # What it took to learn is known now: it is not learnt in vain again.
    world.now += 48 * 3600
    ask(world.ledger)
    keeper = world.keeper(settings)
    assert keeper.tick()
    again = state_of(world.until_ended(keeper))
    assert [one.rung for one in again.attempts] == [1, 2]
    assert "Rung 3 (embedder) is left out: it may take 13000 CPU seconds" in again.reason


def test_an_embedder_is_not_learnt_when_its_index_does_not_fit_the_budget(world: World) -> None:
    ingested(world, 3000)
    settings = SETTINGS.model_copy(update={"max_rung": 3, "embedder_min_queries": 300, "budget_cpu_seconds": 10_000})
    state = state_of(world.until_ended(world.keeper(settings)))
    assert [one.rung for one in state.attempts] == [1, 2]
    assert "it may take 10200 CPU seconds" in state.reason


def test_what_an_index_took_is_told_apart(world: World) -> None:
    ingested(world, 3)
    world.costs = {"train.embedder": 50, "jobs.build_index": 20, "jobs.judge": 5}
    settings = SETTINGS.model_copy(update={"max_rung": 3, "embedder_min_queries": 300, "budget_cpu_seconds": 1e6})
    tried = state_of(world.until_ended(world.keeper(settings))).attempts[2]
    assert (tried.cpu_s, tried.index_cpu_s, tried.documents) == (75, 20, 1)


def test_a_trial_goes_on_as_it_began(world: World) -> None:
    world.verdicts = {1: Judgement("promote")}
    keeper = world.keeper()
    while world.ledger.rollout.state().challenger is None:
        keeper.tick()
    keeper.tick()
    other = world.keeper(SETTINGS.model_copy(update={"test_mode": "ab"}))
    assert world.until_ended(other).outcome == "promoted"


@pytest.mark.parametrize("module", ["jobs.curate", "train.ranker", "jobs.judge"])
def test_a_step_that_fails_is_tried_three_times_and_changes_nothing_for_users(world: World, module: str) -> None:
    before = world.ledger.rollout.state()
    world.broken[module] = failed("It broke.")
    settings = SETTINGS.model_copy(update={"max_rung": 1})
    turn = world.until_ended(world.keeper(settings))
    assert turn.outcome == "failed"
    assert "It broke." in state_of(turn).reason
    assert sum(step.module == module for step in world.ran) == 3
    assert world.ledger.rollout.state() == before


@pytest.mark.parametrize("module", ["jobs.curate", "train.ranker", "jobs.judge"])
def test_a_step_that_would_fail_again_is_not_tried_again(world: World, module: str) -> None:
    world.broken[module] = failed("It gives NaN.", code=BadModel.code, permanent=True)
    turn = world.until_ended(world.keeper(SETTINGS.model_copy(update={"max_rung": 1})))
    assert turn.outcome == "failed"
    assert "would fail again: It gives NaN." in state_of(turn).reason
    assert sum(step.module == module for step in world.ran) == 1
    assert any("It gives NaN." in one.reason for one in world.ledger.decisions.newest(2) if one.kind != "retry")


def test_what_a_cheaper_rung_proved_is_not_lost_when_a_dearer_one_fails(world: World) -> None:
    world.verdicts = {1: Judgement("promote")}
    world.broken["train.query_encoder"] = failed()
    assert world.until_ended(world.keeper()).outcome == "promoted"


def test_a_step_that_is_killed_is_run_again_more_often(world: World) -> None:
    world.broken["jobs.curate"] = failed(transient=True)
    keeper = world.keeper()
    for _ in range(10):
        keeper.tick()
    del world.broken["jobs.curate"]
    assert world.until_ended(keeper).outcome == "rejected"


def test_nothing_to_learn_from(world: World) -> None:
    world.broken["jobs.curate"] = NO_FEEDBACK
    assert world.until_ended(world.keeper()).outcome == "nothing_to_learn"
    assert len(world.ran) == 1


def test_bounds_are_frozen_when_the_turn_begins(world: World) -> None:
    world.broken["jobs.curate"] = failed(transient=True)
    keeper = world.keeper()
    ends = (str(world.ledger.impressions.end()), str(world.ledger.feedback.end()))
    for _ in range(3):
        keeper.tick()
        world.people(20)
    assert len(world.ran) >= 2
    assert {(step.arguments[1], step.arguments[3]) for step in world.ran} == {ends}
    assert len({step.id for step in world.ran}) == 1


def test_a_turn_learns_from_the_newest_and_from_the_same_after_a_kill(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "MOST_IMPRESSIONS", 45)
    world.broken["jobs.curate"] = failed(transient=True)
    for _ in range(3):
        world.keeper().tick()
        world.people(20)
    assert [step.arguments[4:] for step in world.ran] == [("--after-impression", "15")] * len(world.ran)
    assert len(world.ran) >= 2
    (begun,) = world.ledger.decisions.newest(1)
    assert (begun.evidence["after_impression"], begun.evidence["until_impression"]) == (15, 60)


def test_somebody_who_decides_meanwhile_wins(world: World) -> None:
    world.verdicts = {1: Judgement("promote")}
    keeper = world.keeper()
    while world.ledger.rollout.state().challenger is None:
        keeper.tick()
    state = world.ledger.rollout.state()
    world.ledger.rollout.change(rollout.stop(state), by="k1", kind="stop", reason="I do not like it.")
    turn = world.until_ended(keeper)
    assert (turn.outcome, world.ledger.rollout.state().challenger) == ("overtaken", None)


@pytest.mark.parametrize(("kind", "stored"), [("begin", True), ("promote", True), ("stop", False), ("rollback", False)])
def test_a_ledger_that_does_not_answer_overtakes_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, stored: bool
) -> None:
    world.people(200)
    world.verdicts, world.challenger_wins = {1: Judgement("promote")}, kind != "stop"
    world.stable_is_liked = kind != "rollback"
    keeper = world.keeper(SETTINGS.model_copy(update={"guard_impressions": 5000 if kind == "rollback" else 200}))
    change, failures = world.ledger.rollout.change, 0

    def fails_once(wanted: Rollout, **told: Any) -> Rollout:  # noqa: ANN401 (as the ledger's own)
        nonlocal failures
        if told["kind"] != kind or failures:
            return change(wanted, **told)
        failures += 1
        if stored:
            change(wanted, **told)
        raise Unavailable("The ledger does not answer; whether a write under way was stored is not known.")

    monkeypatch.setattr(world.ledger.rollout, "change", fails_once)
    for _ in range(MOST_TICKS):
        with suppress(Unavailable):
            if not keeper.tick():
                world.people()
        if failures and world.ledger.turns.open() is None:
            break
    outcomes = {"stop": "not_better", "rollback": "rolled_back"}
    assert (world.ledger.turns.newest(1)[0].outcome, failures) == (outcomes.get(kind, "promoted"), 1)
    assert world.ledger.rollout.state().challenger is None
    assert world.decided().count(kind) == (2 if kind == "promote" else 1), "with the verdict that the judge gave"


def test_no_turn_without_a_reason_or_without_budget(world: World) -> None:
    keeper = world.keeper(SETTINGS.model_copy(update={"min_feedback": 61}))
    assert [keeper.tick(), keeper.tick()] == [False, False]
    assert not world.keeper(SETTINGS.model_copy(update={"budget_cpu_seconds": 0.0})).tick()
    assert world.ledger.turns.newest(1) == []


def test_a_word_is_enough_and_means_one_turn(world: World) -> None:
    settings = Learning(min_feedback=10_000, max_rung=1)
    ask(world.ledger)
    turn = world.until_ended(world.keeper(settings))
    assert turn.trigger == "Somebody asked for it."
    assert not world.keeper(settings).tick()
    ask(world.ledger)
    assert world.keeper(settings).tick()


def test_paused_starts_nothing_but_takes_back_what_is_worse(world: World) -> None:
    world.verdicts, world.challenger_wins = {1: Judgement("promote")}, False
    world.ledger.turns.pause(True)
    keeper = world.keeper()
    assert not keeper.tick()
    world.ledger.turns.pause(False)
    while world.ledger.rollout.state().challenger is None:
        keeper.tick()
    world.ledger.turns.pause(True)
    for _ in range(10):
        world.people()
        keeper.tick()
    assert world.ledger.rollout.state().challenger is None
    turn = world.ledger.turns.open()
    assert turn is not None
    assert turn.state["outcome"] == "not_better"


def test_paused_promotes_nothing(world: World) -> None:
    world.verdicts = {1: Judgement("promote")}
    keeper = world.keeper()
    while world.ledger.rollout.state().challenger is None:
        keeper.tick()
    world.ledger.turns.pause(True)
    for _ in range(5):
        world.people()
        keeper.tick()
    assert world.ledger.rollout.state().challenger is not None
    world.ledger.turns.pause(False)
    assert world.until_ended(keeper).outcome == "promoted"


def test_a_decision_of_the_test_is_computed_again_from_the_ledger(world: World) -> None:
    from kaizen.evaluation.replay import replay

    world.verdicts = {1: Judgement("promote")}
    world.until_ended(world.keeper())
    made = [one for one in world.ledger.decisions.newest(100) if "online_test" in one.evidence]
    assert [one.kind for one in made] == ["keep", "promote"]
    assert [replay(world.ledger, one.seq).same for one in made] == [True, True]
