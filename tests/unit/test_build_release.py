"""Which release a start puts in service: the configured one, or what was learnt from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.build_release import put_in_service
from kaizen import rollout
from kaizen.config import LedgerSettings
from kaizen.errors import Conflict
from kaizen.records import Rollout
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.rollout import RolloutRow


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


def parts(name: str) -> dict[str, dict[str, Any]]:
    return {"retrieval": {"fingerprint": name}}


def learnt(ledger: Ledger, name: str, parent: str) -> str:
    """A release with a parent, promoted."""
    made = ledger.releases.record(parts(name), parent)
    ledger.rollout.change(rollout.promote(ledger.rollout.state(), made.id), by="t", kind="promote", reason="")
    return made.id


def test_a_restart_keeps_what_was_learnt(ledger: Ledger) -> None:
    base = put_in_service(ledger, parts("a")).stable
    assert (ledger.rollout.current(), base.parent) == (base.id, None)
    better = learnt(ledger, "b", learnt(ledger, "c", base.id))
    before = ledger.rollout.state()
    assert put_in_service(ledger, parts("a")).stable.id == better
    assert ledger.rollout.state() == before


def test_another_configuration_wins_over_what_was_learnt_and_can_be_taken_back(ledger: Ledger) -> None:
    base = put_in_service(ledger, parts("a")).stable
    better = learnt(ledger, "b", base.id)
    changed = put_in_service(ledger, parts("d")).stable
    state = ledger.rollout.state()
    assert (state.stable, state.previous, state.challenger) == (changed.id, better, None)
    decision = ledger.decisions.newest(1)[0]
    assert (decision.kind, decision.by, decision.release) == ("configure", "command", changed.id)
    assert put_in_service(ledger, parts("a")).stable.id == base.id  # and back to the old configuration
    assert ledger.rollout.state().previous == changed.id


def roll_back(ledger: Ledger, by: str) -> None:
    state = ledger.rollout.state()
    ledger.rollout.change(rollout.rollback(state), by=by, kind="rollback", reason="It is worse.")


def configured(ledger: Ledger, *names: str) -> list[str]:
    """Start once with each of these configurations; what was in service then."""
    return [put_in_service(ledger, parts(name)).stable.id for name in names]


def test_a_rollback_holds_until_the_configuration_changes(ledger: Ledger) -> None:
    first, second = configured(ledger, "a", "b")
    roll_back(ledger, "key-7")
    tried = ledger.releases.record(parts("candidate"), first)
    ledger.rollout.change(rollout.begin(ledger.rollout.state(), tried.id, "ab", 0.5), by="t", kind="begin", reason="")
    before = ledger.rollout.state()
    placed = put_in_service(ledger, parts("b"))
    assert (placed.stable.id, ledger.rollout.state()) == (first, before), "nor did the trial end"
    assert f"The configured release {second} was taken back on 20" in placed.withheld
    assert f"by key-7 (rollback), and {first} serves" in placed.withheld
    assert placed.withheld.endswith(f"kaizen rollout promote {second}")
    changed = put_in_service(ledger, parts("c"))
    assert (changed.withheld, ledger.rollout.current()) == ("", changed.stable.id)


def test_what_the_steward_took_back_or_somebody_replaced_by_hand_stays_away(ledger: Ledger) -> None:
    first, _ = configured(ledger, "a", "b")
    roll_back(ledger, "steward")
    assert "by steward (rollback)" in put_in_service(ledger, parts("b")).withheld
    (third,) = configured(ledger, "c")
    ledger.rollout.change(rollout.promote(ledger.rollout.state(), first), by="key-7", kind="promote", reason="")
    placed = put_in_service(ledger, parts("c"))
    assert (placed.stable.id, "by key-7 (promote)" in placed.withheld) == (first, True)
    ledger.rollout.change(rollout.promote(ledger.rollout.state(), third), by="key-7", kind="promote", reason="")
    placed = put_in_service(ledger, parts("c"))
    assert (placed.stable.id, placed.withheld) == (third, ""), "somebody put it in service all the same"


def test_a_rollback_from_what_was_learnt_takes_nothing_from_the_configured_one(ledger: Ledger) -> None:
    (base,) = configured(ledger, "a")
    learnt(ledger, "b", base)
    roll_back(ledger, "key-7")
    assert (configured(ledger, "a"), put_in_service(ledger, parts("a")).withheld) == ([base], "")
    assert configured(ledger, "d", "a")[1] == base, "configured again, after another one"


class Rival(RolloutRow):
    """The rollout's row, where somebody else promotes one of these releases right after each look, while there are."""

    def __init__(self, ledger: Ledger, promoted: list[str]) -> None:
        super().__init__(ledger.rollout._database)
        self._promoted = promoted

    def state(self) -> Rollout:
        seen = super().state()
        if self._promoted:
            self.change(rollout.promote(seen, self._promoted.pop(0)), by="command", kind="configure", reason="")
        return seen


def test_of_two_commands_that_configure_the_same_at_once_none_fails(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ledger.releases.record(parts("a"))
    monkeypatch.setattr(ledger, "rollout", Rival(ledger, [wanted.id]))
    assert put_in_service(ledger, parts("a")).stable.id == wanted.id
    assert len(ledger.decisions.newest(9)) == 1


def test_one_that_was_late_for_another_release_comes_after_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [ledger.releases.record(parts(name)).id for name in "bcdefghij"]
    monkeypatch.setattr(ledger, "rollout", Rival(ledger, others[:2]))
    changed = put_in_service(ledger, parts("a")).stable
    assert (ledger.rollout.current(), ledger.rollout.state().previous) == (changed.id, others[1])
    monkeypatch.setattr(ledger, "rollout", Rival(ledger, others[2:]))
    with pytest.raises(Conflict):  # it does not go on for ever
        put_in_service(ledger, parts("z"))
