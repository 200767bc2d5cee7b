"""Row 20: the clock jumps by an hour, forth and back. What holds is decided by sequence numbers alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from kaizen.storage.ledger import changes
from tests.chaos.conftest import Chaos
from tests.chaos.small_index import TENANT, SmallIndex, chunks_of, loaded, make_small_index, seal, take_in

HOUR = 3600.0
FILES = 5  # odd, so that a file is replaced at another hour than it was written at
SEALED_EVERY = 12
FAULT = "the clock jumps by an hour before every write"


@contextmanager
def jumping(chance: Random) -> Iterator[list[float]]:
    """A clock that `jump` sets an hour on or back: it never shows the order of what happens."""
    real, shift = time.time, [0.0]
    with patch.object(time, "time", lambda: real() + shift[0]):
        shift[0] = HOUR * chance.choice((-1, 1))
        yield shift


def lived(index: SmallIndex, chance: Random, rounds: int) -> list[str]:
    """Write, replace, delete and seal while the clock jumps; what is wrong at the end."""
    wanted: dict[str, str] = {}
    with jumping(chance) as shift, index.opened() as parts:
        for number in range(rounds):
            shift[0] = -shift[0]
            path = index.sources / f"{number % FILES:03d}.txt"
            path.write_text(f"Round {number} of the pump is a valve.")
            take_in(parts, index.sources)
            wanted[path.name] = path.read_text()
            if number % 3 == 2:
                shift[0] = -shift[0]
                gone = chance.choice(sorted(wanted))
                (index.sources / gone).unlink()
                del wanted[gone]
                parts.ledger.documents.delete_many(TENANT, [f"{index.sources.name}/{gone}"])
            if number % SEALED_EVERY == SEALED_EVERY - 1:
                seal(parts)
        seal(parts)
        found = chunks_of(*(one.view for one in loaded(parts)))
    texts = sorted(text for _, _, text in found.elements())
    return [] if texts == sorted(wanted.values()) else [f"found {texts}, wanted {sorted(wanted.values())}"]


@pytest.fixture
def index(tmp_path: Path) -> SmallIndex:
    made = make_small_index(tmp_path)
    made.sources.mkdir()
    return made


def test_the_last_write_holds(chaos: Chaos, index: SmallIndex) -> None:
    rounds = chaos.of(9, 60)
    found = lived(index, chaos.chance("clock"), rounds)
    chaos.kept(20, FAULT, trials=rounds, violations=len(found))
    assert found == []


def test_by_the_clock_an_earlier_write_would_win(chaos: Chaos, index: SmallIndex) -> None:
    after = changes.after
    with patch.object(changes, "after", lambda *of: sorted(after(*of), key=lambda change: change.at)):
        found = lived(index, chaos.chance("clock"), 9)
    chaos.broken(
        20, FAULT, defence="changes are ordered by sequence number", trials=9, violations=len(found),
        seen="earlier texts were found" if found else "nothing",
    )  # fmt: skip
