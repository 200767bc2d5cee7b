"""Row 24: the trainer is killed in a checkpoint. It goes on from the last whole one, and learns the same."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from kaizen.config import Settings
from tests.chaos.conftest import Chaos
from tests.chaos.trainer import Report, Run, Step, learn, learn_in_place
from tests.chaos.victim import Strike, Work, count_calls, struck
from tests.ray.lessons import TOY_PLAN, Toy, by_hand, kill_in_checkpoint
from train.connect import connected
from train.loop import train

# Ray Train makes Ray Data's context, which warns about its own defaults.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

CALLS = {
    "rename": "rename,renameat,renameat2",
    "write": "write,pwrite64,writev",
    "mkdir": "mkdir,mkdirat",
    "unlink": "unlink,unlinkat,rmdir",
}
LIVES = 3  # times that one and the same run is killed
FAULT = "the trainer killed at the N-th rename, write, mkdir or unlink"
ON_RAY = "a worker of Ray Train killed while it writes a checkpoint"


class Trainings:
    """Runs of one kind of trainer that are killed and go on."""

    def __init__(self, work: Work, chance: Random, folder: Path) -> None:
        self._work = work
        self._chance = chance
        self._folder = folder
        self._expected = by_hand(TOY_PLAN)
        counted = count_calls(work, folder / "counted", "", calls=CALLS)
        self._calls = {name: count for name, count in counted.items() if count}

    def killed(self, name: str) -> tuple[int, list[str]]:
        """Kill a run again and again, then let it go to its end; how often it was killed, and what went wrong."""
        run, last, kills = Run(self._folder / name), Report("", {"step": 0, "losses": []}), 0
        for strike in [*self._strikes(), None]:
            code, told = struck(self._work, run.directory, run.newest, strike=strike)
            if code not in (0, -9):
                return kills, [f"it did not go on after a kill: it ended with {code}"]
            kills += code != 0
            done = last.metrics["step"]
            if (begun := next((one.number for one in told if isinstance(one, Step)), done)) < done:
                return kills, [f"it went on at step {begun}, though it had reported {done}"]
            for last in (one for one in told if isinstance(one, Report)):
                run.hear(last)
            if code == 0:
                break
        same = last.metrics["losses"] == pytest.approx(self._expected, rel=1e-4)
        return kills, [] if same else ["it learnt something else"]

    def _strikes(self) -> Iterator[Strike]:
        for name in self._chance.choices(list(self._calls), k=LIVES):
            yield Strike(CALLS[name], "signal=KILL", self._chance.randint(1, self._calls[name]))


def test_it_goes_on_from_the_last_whole_checkpoint(chaos: Chaos, tmp_path: Path) -> None:
    trainings = Trainings(learn, chaos.chance("trainer killed"), tmp_path)
    seen = [trainings.killed(f"run-{number}") for number in range(chaos.of(3, 80))]
    kills, wrong = sum(kills for kills, _ in seen), [reason for _, found in seen for reason in found]
    chaos.kept(24, FAULT, trials=kills, violations=len(wrong))
    assert wrong == []
    assert kills


def test_a_checkpoint_over_the_one_before_it_is_torn(chaos: Chaos, tmp_path: Path) -> None:
    trainings = Trainings(learn_in_place, chaos.chance("trainer killed in place"), tmp_path)
    kills, wrong = 0, []
    for number in range(40):
        killed, found = trainings.killed(f"run-{number}")
        kills, wrong = kills + killed, wrong + found
        if wrong and not chaos.long:
            break
    chaos.broken(
        24, FAULT, defence="a checkpoint is written beside the one before it, and counts when it is whole",
        trials=kills, violations=len(wrong),
        seen=f"{len(wrong)} runs in {kills} kills could not go on, or learnt something else",
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[None]:
    with connected(Settings.model_validate({"workspace": {"directory": tmp_path / "workspace"}}), workers=1):
        yield


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("long_form", "cluster")
def test_a_worker_on_a_real_ray_is_replaced(chaos: Chaos, tmp_path: Path) -> None:
    meters = tmp_path / "run" / "meters"
    kills: dict[int, list[Path]] = {8: [], 12: [], 16: []}  # after which step, and what is left of a checkpoint

    def kill() -> None:
        for step, torn in kills.items():
            kill_in_checkpoint(meters, step, torn)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    losses = train(Toy(pause_seconds=0.1), TOY_PLAN, tmp_path / "run", what="toy").losses
    killer.join()
    for torn in kills.values():
        assert torn[0].is_dir(), "a checkpoint was whole before the worker was killed"
        shutil.rmtree(torn[0])
    wrong = losses != pytest.approx(by_hand(TOY_PLAN), rel=1e-4)
    chaos.kept(24, ON_RAY, trials=len(kills), violations=int(wrong))
    assert not wrong
