"""The simulation's threads, on a service that is a stand-in."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from kaizen.commands.simulate import Plan, simulate
from kaizen.evaluation.collection import Collection

ROUNDS, INTERRUPTED = 100, 1000


class Service:
    """Answers every search with nothing, and is interrupted at the thousandth as by Ctrl-C, when its thread runs."""

    def __init__(self) -> None:
        self.searches = 0

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def post(self, path: str, body: object) -> dict[str, Any]:
        self.searches += 1
        if self.searches == INTERRUPTED:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return {"hits": [], "release": "r1", "impression_id": "imp_1"}


@pytest.mark.usefixtures("as_in_a_terminal")
def test_an_interrupt_ends_it() -> None:
    names = [f"q{number}" for number in range(100)]
    judgements = {name: {"d": 1} for name in names}
    collection = Collection(directory=Path(), split="", queries=dict.fromkeys(names, "why"), judgements=judgements)
    service = Service()
    with pytest.raises(KeyboardInterrupt):
        simulate(lambda: service, collection, Plan(sessions=ROUNDS, connections=1))
    assert INTERRUPTED <= service.searches < ROUNDS * len(names) / 2
