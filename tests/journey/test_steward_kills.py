"""kill -9 of the steward and of its steps at random moments of a turn: each turn ends, with the same verdict.

Once with a few kills; `STEWARD_TURNS=10` makes it ten turns.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from random import Random

import psutil
import pytest

from kaizen.records import Rollout
from kaizen.steward.record import ask as ask_for_a_turn
from kaizen.steward.record import state_of
from tests.product import Product, configure, eventually, started
from tests.spare_parts import SHOP, ask, custom, fill, make_collection

TURNS = int(os.environ.get("STEWARD_TURNS", "1"))
KILLS = 4  # of a turn at most, so that one which is never left in peace still ends
PAUSE_SECONDS = (1.0, 8.0)
TURN_SECONDS = 240.0


@pytest.mark.slow
@pytest.mark.timeout(120 + TURNS * 240)
def test_every_turn_ends_with_the_same_verdict(tmp_path: Path) -> None:
    chance = Random(11)  # noqa: S311 (no secret)
    (tmp_path / "collection").mkdir()
    collection = make_collection(tmp_path / "collection")
    with started(configure(tmp_path, SHOP)) as product:
        fill(product, collection)
        ask(product, collection, sessions=2)
        first = product.parts.ledger.rollout.state().stable or ""
        for number in range(TURNS):
            with custom(product, collection, seed=number + 1):
                killed, seconds = turn_with_kills(product, chance)
            turn = product.parts.ledger.turns.newest(1)[0]
            tried = [(one.rung, one.verdict) for one in state_of(turn).attempts]
            print(f"turn {number + 1}: {turn.outcome} after {seconds:.0f} s and kills of {', '.join(killed)}")
            assert (turn.outcome, tried) == ("promoted", [(1, "promote")])
            kinds = [one.kind for one in reversed(product.parts.ledger.decisions.newest(100, turn=turn.id))]
            assert kinds == ["start_turn", "curate", "learn", "promote", "begin", "promote", "keep"]
            assert len(killed) >= 2, "nothing was tested"
            back_to(product, first)


def turn_with_kills(product: Product, chance: Random) -> tuple[list[str], float]:
    """Start a turn and kill what does it, again and again; return what was killed and how long the turn took."""
    ledger, killed, pause = product.parts.ledger, list[str](), threading.Event()
    turns = len(ledger.turns.newest(1000))
    ask_for_a_turn(ledger)
    began = time.monotonic()
    eventually(lambda: len(ledger.turns.newest(1000)) > turns, 60, "the turn begins")
    while ledger.turns.open() is not None:
        assert time.monotonic() < began + TURN_SECONDS, f"it did not end: {ledger.turns.open()}"
        pause.wait(chance.uniform(*PAUSE_SECONDS))
        if len(killed) < KILLS and ledger.turns.open() is not None:
            killed += kill_one(product, chance)
    return killed, time.monotonic() - began


def kill_one(product: Product, chance: Random) -> list[str]:
    """Kill the steward, or the step that it runs; return what it was, nothing when neither was there."""
    stewards = product.processes("ray::Steward")
    steps = [one for steward in stewards for one in children(steward)]
    for process in chance.sample([*stewards, *steps], 1) if stewards else []:
        name = "the steward" if process in stewards else "a step"
        process.kill()
        return [name]
    return []


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children()
    except psutil.NoSuchProcess:
        return []
    return found


def back_to(product: Product, release: str) -> None:
    """As before the turn, so that the next one has the same to learn."""
    rollout = product.parts.ledger.rollout
    wanted = Rollout(version=rollout.state().version, stable=release)
    rollout.change(wanted, by="test", kind="configure", reason="Once more.")
