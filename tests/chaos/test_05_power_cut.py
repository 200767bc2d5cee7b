"""Row 5: the power is cut, or the writer killed, in document and feedback writes. What was acknowledged is there."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.disk import PowerDisk, power_disk
from tests.chaos.victim import victim
from tests.chaos.writer import lost, write_before_commit, write_for_ever, write_without_fsync, write_without_synchronous

Writer = Callable[..., None]
CUT = "power cut: an ext4's image copied at a moment and mounted"
KILL = "kill -9 of the process that writes"
WITHOUT_POWER = {
    write_without_synchronous: "SQLite waits for the disk (synchronous=FULL)",
    write_without_fsync: "the object store syncs files and folders before it answers",
}


def cut_again_and_again(chaos: Chaos, disk: PowerDisk, at: Path, writer: Writer, cuts: int) -> list[str]:
    """What was acknowledged and is not there after each cut; the writer goes on after it."""
    chance, found, wanted = chaos.chance(f"power cut {writer.__name__}"), [], 0
    with victim(writer, disk.path, 0) as one:
        for _ in range(cuts):
            wanted += chance.randint(1, 40)
            assert one.hear(lambda told, wanted=wanted: len(told) >= wanted), "the writer ended"  # type: ignore[misc]
            one.signal(signal.SIGSTOP)
            one.drain()
            with disk.cut(at) as left:
                found += lost(left, one.told)
            one.signal(signal.SIGCONT)
    return found


@pytest.mark.timeout(600)
def test_acknowledged_writes_survive_a_power_cut(chaos: Chaos, tmp_path: Path) -> None:
    cuts = chaos.of(5, 50)
    with power_disk(tmp_path / "disk") as disk:
        found = cut_again_and_again(chaos, disk, tmp_path / "left", write_for_ever, cuts)
    chaos.kept(5, CUT, trials=cuts, violations=len(found))
    assert found == []


@pytest.mark.parametrize("writer", WITHOUT_POWER, ids=lambda writer: writer.__name__)
def test_a_power_cut_is_noticed_where_nobody_waits_for_the_disk(chaos: Chaos, tmp_path: Path, writer: Writer) -> None:
    with power_disk(tmp_path / "disk") as disk:
        found = cut_again_and_again(chaos, disk, tmp_path / "left", writer, 3)
    chaos.broken(
        5, CUT, defence=WITHOUT_POWER[writer], trials=3, violations=len(found),
        seen=f"{len(found)} acknowledged writes lost in 3 cuts",
    )  # fmt: skip


def killed_again_and_again(chaos: Chaos, directory: Path, writer: Writer, kills: int) -> list[str]:
    """What was acknowledged and is not there after any of the kills."""
    chance = chaos.chance(f"kill {writer.__name__}")
    acknowledged: list[tuple[str, str]] = []
    found = []
    for life in range(kills):
        with victim(writer, directory, life) as one:
            wanted = chance.randint(1, 60)
            assert one.hear(lambda told, wanted=wanted: len(told) >= wanted), "the writer ended"  # type: ignore[misc]
            one.signal(signal.SIGKILL)
            assert one.end() == -signal.SIGKILL
            acknowledged += one.told
        found += lost(directory, acknowledged if life % 20 == 0 or life == kills - 1 else one.told)
    return found


@pytest.mark.timeout(600)
def test_acknowledged_writes_survive_kills(chaos: Chaos, tmp_path: Path) -> None:
    kills = chaos.of(20, 200)
    found = killed_again_and_again(chaos, tmp_path, write_for_ever, kills)
    chaos.kept(5, KILL, trials=kills, violations=len(found))
    assert found == []


def test_a_kill_is_noticed_where_writes_are_acknowledged_too_early(chaos: Chaos, tmp_path: Path) -> None:
    kills = 6
    found = killed_again_and_again(chaos, tmp_path, write_before_commit, kills)
    chaos.broken(
        5, KILL, defence="a write is acknowledged after its commit", trials=kills, violations=len(found),
        seen=f"{len(found)} acknowledged writes lost in {kills} kills",
    )  # fmt: skip
