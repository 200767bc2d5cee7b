"""Each step that a turn runs as a command is understood by that command's own parser."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

import pytest

from kaizen.config import Learning
from kaizen.steward.drift_watch import Bounds, measurement
from kaizen.steward.messages import Run
from kaizen.steward.state import Attempt, Material, Phase, TurnState
from kaizen.steward.turn import LEARNERS, instruction


def step(phase: Phase, rung: int) -> Run:
    """What a turn in this phase runs."""
    state = TurnState(
        turn="turn-1", stable="release-1", until_impression=9, until_feedback=9, phase=phase,
        material=Material(dataset="dataset-1", examples=1, queries=1, demonstrations=1),
        attempts=(Attempt(rung=rung, parent="release-1", release="release-2"),),
    )  # fmt: skip
    found = instruction(state, Learning())
    assert isinstance(found, Run)
    return found


STEPS = [
    step("curate", 1),
    *(step("learn", rung) for rung in LEARNERS),
    step("index", 3),
    step("judge", 1),
    measurement("release-1", Bounds(after=0, until=5, since=5, end=9)),
]


class UnderstoodError(Exception):
    """The arguments were parsed; nothing was done with them."""


@pytest.mark.parametrize("run", STEPS, ids=lambda run: run.module)
def test_the_command_knows_its_arguments(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        parse(self, arguments)  # ends with SystemExit when it does not know one
        raise UnderstoodError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    with pytest.raises(UnderstoodError):
        importlib.import_module(run.module).main([*run.arguments, "--config", "kaizen.toml", "--json"])
