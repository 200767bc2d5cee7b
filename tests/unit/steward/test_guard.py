"""A release that was promoted by hand and proves worse goes back by itself."""

from __future__ import annotations

from kaizen import rollout
from kaizen.ids import fingerprint
from tests.unit.steward.world import SETTINGS, World


def promote_by_hand(world: World) -> tuple[str, str]:
    """Make another release stable; return the one before and this one."""
    state = world.ledger.rollout.state()
    other = world.ledger.releases.record({"retrieval": {"fingerprint": fingerprint("other")}}, parent=state.stable)
    wanted = rollout.promote(state, other.id)
    world.ledger.rollout.change(wanted, by="k1", kind="promote", reason="I want it.")
    return state.stable or "", other.id


def until_it_ends(world: World) -> None:
    """People come until the watch over the promotion has ended, 500 of them at most."""
    guard, impressions = world.guard(SETTINGS.model_copy(update={"guard_impressions": 5000})), 0
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
