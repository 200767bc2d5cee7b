"""What the commands of rungs 3 and 4 share: data set and parent in, a recorded candidate with its cost out."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaizen.config import Settings
from kaizen.config_sources import check_environment, load_settings
from kaizen.ids import fingerprint
from kaizen.job import run_job
from kaizen.records import Candidate
from kaizen.release import Part
from kaizen.workspace import Workspace, open_workspace
from train.connect import connected
from train.loop import Trained
from train.plan import Plan
from train.recording import Lesson, lesson_parser, open_lesson, record, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a rung gave: the parts of the release that change, the run behind them, and figures worth showing."""

    parts: Mapping[str, Part]
    trained: Trained
    figures: Mapping[str, float]


Learn = Callable[..., Learnt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A rung of the learning ladder as a command, with the defaults of its settings."""

    number: int
    module: str
    description: str
    epochs: int
    batch: int
    learning_rate: float

    def parser(self) -> argparse.ArgumentParser:
        """The options that all rungs with a training loop have."""
        parser = lesson_parser(self.module, self.description)
        parser.add_argument("--epochs", type=int, default=self.epochs)
        parser.add_argument("--batch", type=int, default=self.batch, help="examples of a step, over all workers")
        parser.add_argument("--learning-rate", type=float, default=self.learning_rate)
        parser.add_argument("--workers", type=int, default=1)
        parser.add_argument("--zero-stage", type=int, choices=(0, 1, 2, 3), default=1)
        parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
        parser.add_argument("--max-steps", type=int, default=0, help="stop after so many steps; 0: no limit")
        parser.add_argument("--checkpoint-steps", type=int, default=50, help="steps that a kill can cost")
        parser.add_argument("--seed", type=int, default=0)
        return parser


def run_command(rung: Rung, options: argparse.Namespace, learn: Learn, own: Sequence[str]) -> int:
    """Learn as `options` say, record the release as a candidate, print it, and return the exit status.

    Args:
        learn: called with workspace, parent, data set, plan, folder of the run, and the options named in `own`.
    """

    def job(options: argparse.Namespace) -> None:
        check_environment()
        workspace = open_workspace(_absolute(load_settings(options.config).settings))
        tell(_learn(workspace, rung, options, learn, own), as_json=options.json)

    return run_job(job, options)


def _learn(
    workspace: Workspace, rung: Rung, options: argparse.Namespace, learn: Learn, own: Sequence[str]
) -> Candidate:
    began = time.monotonic()
    plan = _plan(options)
    lesson = open_lesson(workspace, rung.number, options)
    chosen = {name: getattr(options, name) for name in own}
    settings = {**asdict(plan), **chosen}
    run = _folder(lesson, settings)
    with connected(workspace.settings, plan.workers):
        learnt = learn(workspace, lesson.parent, lesson.dataset, plan, run, **chosen)
    cost = {
        "cpu_s": round(learnt.trained.cpu_s + time.process_time(), 2),
        "gpu_s": round(learnt.trained.gpu_s, 2),
        "wall_s": round(time.monotonic() - began, 2),
    }
    candidate = record(lesson, learnt.parts, settings=settings, cost=cost, figures=_figures(learnt))
    shutil.rmtree(run, ignore_errors=True)  # only now: until here the same command would have gone on from it
    return candidate


def _figures(learnt: Learnt) -> dict[str, float]:
    losses = learnt.trained.losses
    tenth = max(1, len(losses) // 10)
    return {
        "steps": len(losses),
        "loss_first": round(sum(losses[:tenth]) / tenth, 4),
        "loss_last": round(sum(losses[-tenth:]) / tenth, 4),
        **learnt.figures,
    }


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        epochs=options.epochs,
        max_steps=options.max_steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        workers=options.workers,
        zero_stage=options.zero_stage,
        precision=options.precision,
        seed=options.seed,
        checkpoint_steps=options.checkpoint_steps,
    )


def _folder(lesson: Lesson, settings: Mapping[str, Any]) -> Path:
    """The same for the same run, so that a second call goes on with the first."""
    made_of = {"parent": lesson.parent.fingerprint, "dataset": lesson.dataset.id, "settings": dict(settings)}
    directory = lesson.workspace.settings.workspace.directory
    return directory / "train" / f"rung{lesson.rung}-{fingerprint(made_of)[:16]}"


def _absolute(settings: Settings) -> Settings:
    """Workers have other working directories."""
    workspace, objects = settings.workspace, settings.objects
    here = {"directory": workspace.directory.absolute()}
    local = objects.uri and "://" not in objects.uri
    uri = str(Path(objects.uri).absolute()) if local else objects.uri
    return settings.model_copy(
        update={"workspace": workspace.model_copy(update=here), "objects": objects.model_copy(update={"uri": uri})}
    )
