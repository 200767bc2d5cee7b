"""What every rung's command ends with: the release that was learnt, recorded as a candidate, told to whoever asked."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaizen.job import job_parser, print_result
from kaizen.records import Candidate, Dataset, Release
from kaizen.release import Part, with_parts
from kaizen.workspace import Workspace


class Clock:
    """CPU and wall time from its making on, of this process and the children that it waited for."""

    def __init__(self) -> None:
        self._cpu, self._wall = self._now()

    def cost(self) -> dict[str, float]:
        """`cpu_s`, `gpu_s` and `wall_s` so far."""
        cpu, wall = self._now()
        return {"cpu_s": round(cpu - self._cpu, 2), "gpu_s": 0.0, "wall_s": round(wall - self._wall, 2)}

    def _now(self) -> tuple[float, float]:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system, time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a rung learns from. `parent`: the release that it begins with."""

    workspace: Workspace
    parent: Release
    dataset: Dataset
    rung: int
    turn: str


def open_lesson(workspace: Workspace, rung: int, options: argparse.Namespace) -> Lesson:
    """Find the data set and the parent that the options of `lesson_parser` name. Raises NotFound."""
    return Lesson(
        workspace=workspace,
        parent=workspace.release(options.parent),
        dataset=workspace.ledger.datasets.get(options.dataset),
        rung=rung,
        turn=options.turn,
    )


def lesson_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The options that all rungs have."""
    parser = job_parser(module, description)
    parser.add_argument("--dataset", required=True, help="id of a data set that jobs.curate made")
    parser.add_argument("--parent", help="release to begin from; default: the stable one")
    parser.add_argument("--turn", default="", help="turn of the steward that this belongs to")
    return parser


def record(
    lesson: Lesson,
    parts: Mapping[str, Part],
    *,
    settings: Mapping[str, Any],
    cost: Mapping[str, float],
    figures: Mapping[str, Any],
) -> Candidate:
    """Record the release with the changed `parts`, and that it is a candidate; the same parts give the same one."""
    ledger = lesson.workspace.ledger
    release = ledger.releases.record(with_parts(lesson.parent, **parts), parent=lesson.parent.id)
    made = {
        "dataset": lesson.dataset.id,
        "parent": lesson.parent.id,
        "settings": dict(settings),
        "cost": dict(cost),
        "figures": dict(figures),
    }
    return ledger.candidates.record(
        Candidate(release=release.id, at=time.time(), rung=lesson.rung, turn=lesson.turn, record=made)
    )


def tell(candidate: Candidate, *, as_json: bool) -> None:
    """Print a candidate on stdout."""
    record, cost = candidate.record, candidate.record["cost"]
    if as_json:
        told = {"release": candidate.release, "rung": candidate.rung, "cost": cost, "figures": record["figures"]}
        print_result(told)
        return
    sys.stdout.write(
        f"candidate {candidate.release} (rung {candidate.rung}) of {record['parent']}, data set {record['dataset']}\n"
        f"{', '.join(f'{name} {value}' for name, value in record['figures'].items())}\n"
        f"{cost['wall_s']} s, {cost['cpu_s']} CPU-seconds, {cost['gpu_s']} GPU-seconds\n"
    )
