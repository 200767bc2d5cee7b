"""kill -9 of the steward, of its steps and of a gateway replica at random moments of a turn: each turn ends, with the
same verdict.

A turn curates, teaches rung 1, sweeps the settings (there are trusted judgements), judges, and tries on people, who
come again when the process that had their request was killed. One turn with kills in three of its phases;
`STEWARD_TURNS=10` makes it ten turns with kills in each phase, `STEWARD_SEED=N` repeats the moments of a run.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from random import Random

import psutil
import pytest

from kaizen.commands.simulate import Summary
from kaizen.evaluation.collection import Collection
from kaizen.records import Judgement, Rollout
from kaizen.steward.policy import SWEEP_MIN_TRUSTED
from kaizen.steward.record import ask as ask_for_a_turn
from kaizen.steward.record import state_of
from tests.product import Product, configure, eventually, started, title_of
from tests.spare_parts import SHOP, ask, calm, custom, fill, make_collection

TURNS = int(os.environ.get("STEWARD_TURNS", "1"))
SEED = int(os.environ.get("STEWARD_SEED", secrets.randbelow(10_000)))
# Phases of a turn, each with the number of rungs begun: one kill at most in each, so that the turn still ends.
PHASES = (("curate", 0), ("learn", 1), ("judge", 1), ("learn", 2), ("judge", 2), ("test", 2), ("guard", 2))
KILLED = len(PHASES) if TURNS > 1 else 3  # phases of a turn that something is killed in
PAUSE_SECONDS = (0.1, 1.5)  # from the begin of a phase; one that ends before is left in peace
LOOK_SECONDS = 0.05
TURN_SECONDS = 480.0  # a machine may be busy with more than this
STEP = "kaizen.steward.step"


@pytest.mark.slow
@pytest.mark.timeout(240 + TURNS * 480)
def test_every_turn_ends_with_the_same_verdict(tmp_path: Path) -> None:
    chance, killed, spent = Random(SEED), Counter[str](), list[float]()  # noqa: S311 (no secret)
    print(f"STEWARD_SEED={SEED}")
    (tmp_path / "collection").mkdir()
    collection = make_collection(tmp_path / "collection")
    two = {**SHOP, "server": {**SHOP["server"], "replicas": 2}}
    with started(configure(tmp_path, two)) as product:
        fill(product, collection)
        trust(product, collection)
        ask(product, collection, sessions=2)
        first = product.parts.ledger.rollout.state().stable or ""
        for number in range(TURNS):
            with custom(product, collection, seed=number + 1, pause=lambda: calm(product)) as people:
                own, seconds = turn_with_kills(product, people, chance)
            turn = product.parts.ledger.turns.newest(1)[0]
            tried = [(one.rung, one.verdict) for one in state_of(turn).attempts]
            print(f"turn {number + 1}: {turn.outcome} after {seconds:.0f} s and kills of {', '.join(own)}", flush=True)
            assert (turn.outcome, tried) == ("promoted", [(1, "promote"), (0, "promote")])
            kinds = [one.kind for one in reversed(product.parts.ledger.decisions.newest(100, turn=turn.id))]
            assert kinds == [
                "start_turn", "curate", "learn", "promote", "learn", "promote", "begin", "promote", "keep",
            ]  # fmt: skip
            assert own, "nothing was tested"
            back_to(product, first)
            killed.update(own)
            spent.append(round(seconds, 1))
        print(json.dumps({"turns": TURNS, "seed": SEED, "kills": dict(killed), "seconds": spent}))
    assert TURNS < 10 or {"the steward", "train.ranker", "tune.sweep", "a gateway replica"} <= set(killed)


def trust(product: Product, collection: Collection) -> None:
    """Judgements of people who are trusted, of as many queries as a sweep needs."""
    names = list(collection.queries)[: SWEEP_MIN_TRUSTED + 10]
    product.parts.ledger.judgements.put_many(
        [
            Judgement(tenant="default", query_id=name, query=collection.queries[name], document_id=document, grade=1)
            for name in names
            for document in collection.judgements[name]
        ]
    )


def turn_with_kills(product: Product, people: Future[Summary], chance: Random) -> tuple[list[str], float]:
    """Start a turn and kill what does it, again and again; return what was killed and how long the turn took."""
    ledger, killed, pause = product.parts.ledger, list[str](), threading.Event()
    left = set(chance.sample(PHASES, KILLED))
    turns = len(ledger.turns.newest(1000))
    ask_for_a_turn(ledger)
    began = time.monotonic()
    eventually(lambda: len(ledger.turns.newest(1000)) > turns, 60, "the turn begins")
    while ledger.turns.open() is not None:
        assert time.monotonic() < began + TURN_SECONDS, f"it did not end: {ledger.turns.open()}"
        assert not people.done(), people.exception()
        phase = phase_of(product)
        if phase is not None and phase in left:
            left.remove(phase)
            pause.wait(chance.uniform(*PAUSE_SECONDS))
            killed += kill_one(product, chance) if phase_of(product) == phase else []
        pause.wait(LOOK_SECONDS)
    return killed, time.monotonic() - began


def phase_of(product: Product) -> tuple[str, int] | None:
    """What the turn does now; None when it is over."""
    turn = product.parts.ledger.turns.open()
    return (state_of(turn).phase, len(state_of(turn).attempts)) if turn is not None else None


def kill_one(product: Product, chance: Random) -> list[str]:
    """Kill the steward, or the step that it runs, or what works for that, or one of both gateway replicas.

    Returns what it was; nothing when it had just ended by itself.
    """
    stewards, gateways = product.processes("ray::Steward"), product.processes("ray::ServeReplica:kaizen:Gateway")
    steps = [one for steward in stewards for one in children(steward) if STEP in title_of(one)]
    workers = [one for step in steps for one in children(step, recursive=True) if title_of(one).startswith("ray::")]
    groups = {
        "the steward": stewards,
        "a gateway replica": gateways if len(gateways) > 1 else [],
        "a step": steps,
        "a worker of the sweep": workers,
    }
    name = chance.choice([name for name, group in groups.items() if group] or [""])
    if not name:
        return []
    victim = chance.choice(groups[name])
    name = module_of(victim) if name == "a step" else name
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return []
    return [name]


def children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []
    return found


def module_of(step: psutil.Process) -> str:
    """The command that a step runs, such as `tune.sweep`: it stands behind the id of the process that it ends with."""
    words = title_of(step).split()
    return words[words.index(STEP) + 2] if STEP in words else "a step"


def back_to(product: Product, release: str) -> None:
    """As before the turn, so that the next one has the same to learn."""
    rollout = product.parts.ledger.rollout
    wanted = Rollout(version=rollout.state().version, stable=release)
    rollout.change(wanted, by="test", kind="configure", reason="Once more.")
