"""`kaizen steward`, on a ledger that a turn has been written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaizen import rollout
from kaizen.cli import main
from kaizen.commands import steward
from kaizen.steward.record import asked
from tests.unit.steward.world import SETTINGS, Judgement, World


@pytest.fixture
def config(world: World, tmp_path: Path) -> Path:
    """The configuration of the world's ledger."""
    path = tmp_path / "kaizen.toml"
    path.write_text(f'[workspace]\ndirectory = "{tmp_path}"\n[learning]\nmin_feedback = 50\nmax_rung = 2\n')
    return path


def said(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> Any:  # noqa: ANN401 (JSON)
    return json.loads(shown(capsys, config, *arguments, "--json"))


def shown(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["steward", *arguments, "--config", str(config)])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_status_before_and_in_a_turn(world: World, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = said(capsys, config, "status")
    assert (before["turn"], before["paused"], before["budget"]) == (None, False, {"cpu_s": 3600, "left_cpu_s": 3600})
    assert before["triggers"][0] == {"kind": "feedback", "now": 60, "needed": 50}
    keeper = world.keeper()
    for _ in range(3):
        keeper.tick()
    now = said(capsys, config, "status")
    assert (now["turn"]["phase"], now["triggers"][0]["now"]) == ("learn", 0)
    assert [one["kind"] for one in now["decisions"]] == ["learn", "curate", "start_turn", "configure"]
    assert "learn, since" in shown(capsys, config, "status")
    world.verdicts = {1: Judgement("promote")}
    while world.ledger.rollout.state().challenger is None:
        keeper.tick()
    keeper.tick()
    world.people(5)
    assert said(capsys, config, "status")["turn"]["users"] == "So far 5 of 5 votes are for it."


def test_pause_resume_and_run_once(world: World, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keeper = world.keeper(SETTINGS.model_copy(update={"min_feedback": 10_000}))
    assert said(capsys, config, "pause") == {"paused": True}
    assert said(capsys, config, "run-once") == {"turn": None}
    assert not keeper.tick()
    assert said(capsys, config, "resume") == {"paused": False}
    assert keeper.tick()
    open_ = said(capsys, config, "run-once")["turn"]
    assert open_["phase"] == "curate", "the one that is open is meant"


def test_what_is_done_by_hand_keeps_a_turn_waiting_and_status_says_so(
    world: World, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steward, "read_run_state", lambda _: "it runs")
    monkeypatch.setattr(steward, "head_process", lambda _: "its process")
    assert said(capsys, config, "status")["waits"] == ""
    state = world.ledger.rollout.state()
    other = world.ledger.releases.record({"retrieval": {"fingerprint": "1"}}, parent=state.stable).id
    stored = world.ledger.rollout.change(
        rollout.begin(state, other, "interleave", 1.0), by="k1", kind="begin", reason="I wonder."
    )
    world.people(5)
    expected = f"{other} is on trial by hand, until you promote or stop it (`kaizen rollout`)."
    assert said(capsys, config, "status")["waits"] == f"{expected} So far 5 of 5 votes are for it."
    assert f"{other} is on trial by hand" in shown(capsys, config, "status")
    world.ledger.rollout.change(rollout.promote(stored, other), by="k1", kind="promote", reason="I want it.")
    expected = f"{other} was promoted and is still watched against {state.stable}"
    assert said(capsys, config, "status")["waits"].startswith(expected)
    with pytest.raises(SystemExit):
        main(["steward", "run-once", "--wait", "--timeout-seconds", "1", "--config", str(config)])
    out, err = capsys.readouterr()
    assert f"It waits: {expected}" in out
    assert expected in err


def ended(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["steward", *arguments, "--config", str(config)])
    return int(ended.value.code or 0), "".join(capsys.readouterr())


def test_nobody_waits_for_a_turn_that_nobody_would_run(
    world: World, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, told = ended(capsys, config, "run-once", "--wait", "--timeout-seconds", "1")
    assert (code, "Nothing runs in" in told, "kaizen up" in told) == (75, True, True)
    assert not asked(world.ledger), "and no word is left"
    monkeypatch.setattr(steward, "read_run_state", lambda _: "it runs")
    monkeypatch.setattr(steward, "head_process", lambda _: "its process")
    said(capsys, config, "pause")
    code, told = ended(capsys, config, "run-once", "--wait", "--timeout-seconds", "1")
    assert (code, "is paused" in told, "resume" in told) == (75, True, True)
    said(capsys, config, "resume")
    assert "was not over after 1 s" in ended(capsys, config, "run-once", "--wait", "--timeout-seconds", "1")[1]


def test_history(world: World, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.verdicts = {1: Judgement("promote")}
    turn = world.until_ended(world.keeper())
    (listed,) = said(capsys, config, "history")["turns"]
    assert (listed["id"], listed["outcome"], len(listed["attempts"]), listed["cpu_s"]) == (turn.id, "promoted", 2, 5.0)
    decided = said(capsys, config, "history", "--turn", turn.id)["decisions"]
    assert [one["kind"] for one in decided] == world.decided()
    assert "promoted" in shown(capsys, config, "history", "--turn", turn.id)


def test_nobody_would_run_it(world: World, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text() + "steward = false\n")
    with pytest.raises(SystemExit):
        main(["steward", "run-once", "--config", str(config)])
    assert "learning.steward is false" in capsys.readouterr().err
