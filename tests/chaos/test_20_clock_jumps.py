"""Row 20: the clock jumps by an hour, forth and back. What holds is decided by sequence numbers alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from unittest.mock import patch

import psutil
import pytest

from kaizen.storage.ledger import changes
from kaizen.storage.ledger.pages import rows_between
from tests.chaos.clock import Clocks, clocks
from tests.chaos.conftest import TWINS, WORD, Chaos, Flock, Flocks
from tests.chaos.history import History, Mix, recorded_releases, traffic
from tests.chaos.parts import FLEET, GATEWAY, has_ended, pids_of, shard_names, the_only
from tests.chaos.small_index import TENANT, SmallIndex, chunks_of, loaded, make_small_index, seal, take_in
from tests.chaos.without import without
from tests.product import Product, configure, started

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


# ---------------------------------------------------------------------------------------------- under traffic

IN_SERVICE = "the clock of {} jumps by an hour, on and back, under traffic"
MIX = Mix(query=WORD, searchers=3, writers=2, pause_seconds=0.02, explain=True)
SILENT = "the clock of the fleet jumps by an hour while a shard is silent for a moment"
SILENT_SECONDS = 3.0  # the fleet looks each second, and replaces who is silent for five
SLOW_SECONDS = 10.0  # an operation that takes longer has waited for a clock
JUMPS = (HOUR, -HOUR, 0.0)
Jump = Callable[[float], None]


def clock_jumps(product: Product, one: Flock, jump: Jump, between: float = 6.0) -> History:
    """Traffic while a clock jumps; between two jumps all that looks after others has looked a few times."""
    with traffic(product, one.key, MIX) as history:
        for seconds in JUMPS:
            jump(seconds)
            enough = time.monotonic() + between
            while time.monotonic() < enough:
                history.wait_for_more(50)
    return history


def whose(product: Product, clocks: Clocks, chance: Random) -> dict[str, Jump]:
    """Whose clock jumps, and how."""
    gateway = chance.choice(product.processes(GATEWAY))
    shard = pids_of(product, chance.choice(shard_names(product))).popitem()[1]
    return {
        "a gateway": partial(clocks.set_one, gateway.pid),
        "a shard": partial(clocks.set_one, shard),
        "all processes": clocks.set_all,
    }


def processes(product: Product) -> set[int]:
    """All that a watch by the wrong clock would take for silent, and replace."""
    gateways = {process.pid for process in product.processes(GATEWAY)}
    return gateways | set(pids_of(product, *shard_names(product)).values())


def hours_apart(product: Product, history: History) -> bool:
    """Whether what was shown is on record with moments an hour apart: the clock has jumped."""
    shown = {each.impression for each in history.of("search")}
    moments = [each.at for _, each in rows_between(product.parts.ledger.impressions.after) if each.id in shown]
    return max(moments) - min(moments) > HOUR


@pytest.mark.usefixtures("long_form")
@pytest.mark.timeout(900)
def test_an_installation(tmp_path_factory: pytest.TempPathFactory, flocks: Flocks, chaos: Chaos) -> None:
    chance = chaos.chance("clocks in service")
    with clocks() as set_by_us, started(configure(tmp_path_factory.mktemp("clock"), TWINS)) as product:
        before = processes(product)
        for _ in range(3):
            for who, jump in whose(product, set_by_us, chance).items():
                one = flocks(product)
                history = clock_jumps(product, one, jump)
                found = one.violations(history, recorded_releases(product))
                odd = history.noticed() + [each for each in history.of() if each.seconds > SLOW_SECONDS]
                chaos.kept(20, IN_SERVICE.format(who), trials=1, violations=len(found) + len(odd))
                assert (found, odd) == ([], [])
                assert who == "a shard" or hours_apart(product, history)
        assert processes(product) == before  # nobody was taken for silent


@pytest.mark.usefixtures("long_form")
@pytest.mark.parametrize("off", [{}, {"actors.fleet:time": "tests.chaos.stand_ins:wall_clock"}], ids=["kept", "broken"])
def test_whom_the_fleet_takes_for_silent(
    tmp_path_factory: pytest.TempPathFactory, off: Mapping[str, str], chaos: Chaos
) -> None:
    config = configure(tmp_path_factory.mktemp("silent"), TWINS)
    with clocks() as set_by_us, without(off), started(config) as product:
        product.wait_until_ready()
        fleet = the_only(product, FLEET)
        jump = partial(set_by_us.set_one, fleet.pid)
        replaced = jumped_in_silence(product, jump, chaos.chance("clock of the fleet"))
    if off:
        chaos.broken(
            20, SILENT, defence="silence is counted by a monotonic clock", trials=1, violations=replaced,
            seen=f"{replaced} shards that were well were replaced",
        )  # fmt: skip
    else:
        chaos.kept(20, SILENT, trials=1, violations=replaced)
        assert replaced == 0


def jumped_in_silence(product: Product, jump: Jump, chance: Random) -> int:
    """The clock jumps while one shard is silent, for less than it may be; how many processes were replaced."""
    before = processes(product)
    shard = psutil.Process(pids_of(product, chance.choice(shard_names(product))).popitem()[1])
    shard.suspend()
    try:
        for seconds in (0.0, HOUR):
            jump(seconds)
            threading.Event().wait(SILENT_SECONDS / 2)
    finally:
        if not has_ended(shard):
            shard.resume()
    product.wait_until_ready()
    return len(before - processes(product))
