"""Training on a real Ray: the same on one worker and on two, on after a kill, and out comes a release."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from jobs.build_release import build_release
from kaizen.config import Settings
from kaizen.errors import BadModel, InvalidInput
from kaizen.models.embedder_spec import EmbedderSpec
from kaizen.models.generator import open_generator
from kaizen.models.onnx_embedder import OnnxEmbedder
from kaizen.records import Dataset, Release
from kaizen.release import generator_of, index_of
from kaizen.workspace import Workspace
from tests.product import eventually, title_of
from tests.ray.lessons import TOY_PLAN, Toy, Unlearnable, by_hand, kill_in_checkpoint, tiny_settings, tiny_workspace
from train.connect import connected
from train.embedder import EmbedderTask
from train.loop import train
from train.meters import readings
from train.plan import Plan

# Ray Train makes Ray Data's context, which warns about its own defaults.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

UNUSED = ("ray::DatasetManager", "ray::PlacementGroupCleaner", "ray::PreemptionWatcher")


class Lesson:
    """A workspace with a stable release and a data set."""

    def __init__(self, directory: Path) -> None:
        self.settings: dict[str, Any] = tiny_settings(directory)
        self.workspace: Workspace
        self.dataset: Dataset
        self.workspace, self.dataset = tiny_workspace(self.settings)
        self.stable: Release = build_release(self.workspace)
        self.config = directory / "kaizen.toml"
        self.config.write_text(
            "\n".join(
                f"[{section}]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())
                for section, fields in self.settings.items()
            )
        )

    def run(self, module: str, *options: str) -> Release:
        """Run a command of the ladder and return the release that it made."""
        done = subprocess.run(
            [sys.executable, "-m", module, "--config", self.config, "--dataset", self.dataset.id, "--json", *options],
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert set(told) == {"release", "rung", "cost", "figures"}
        assert told["cost"]["cpu_s"] > 0
        return self.workspace.ledger.releases.get(told["release"])


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lesson]:
    made = Lesson(tmp_path_factory.mktemp("lesson"))
    yield made
    made.workspace.ledger.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = Settings.model_validate({"workspace": {"directory": tmp_path_factory.mktemp("ray")}})
    with connected(settings, workers=2):
        yield


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_is_replaced_and_the_run_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    torn: list[Path] = []
    killer = threading.Thread(target=kill_in_checkpoint, args=(tmp_path / "run" / "meters", 8, torn), daemon=True)
    killer.start()
    trained = train(Toy(pause_seconds=0.1), TOY_PLAN, tmp_path / "run", what="toy")
    killer.join()
    assert torn[0].is_dir(), "the checkpoint was whole before the worker was killed"
    shutil.rmtree(torn[0])
    assert trained.losses == pytest.approx(by_hand(TOY_PLAN), rel=1e-4)
    assert len(trained.losses) == 24
    both = sorted(reading.step for reading in readings(tmp_path / "run" / "meters"))
    assert both == [12, 24], "the first worker came to its third checkpoint, the second to the end"
    newest = max((tmp_path / "run").glob("checkpoint_*"))
    assert sum(file.stat().st_size for file in newest.rglob("*") if file.is_file()) < 2**19, "frozen weights are in it"
    record = tmp_path / "run" / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
    record.write_bytes(record.read_bytes()[:100])
    again = train(Toy(), TOY_PLAN, tmp_path / "run", what="toy")
    assert again.losses == trained.losses, "a run that has ended is not run again"
    assert [reading.step for reading in readings(tmp_path / "run" / "meters")].count(24) == 1, "it began anew"


@pytest.mark.usefixtures("cluster")
def test_a_loss_that_is_not_finite_is_told_before_and_after_a_checkpoint_and_it_begins_anew(tmp_path: Path) -> None:
    for broken_at in (1, 6):
        with pytest.raises(BadModel, match=f"The loss at step {broken_at} is not finite"):
            train(Toy(broken_at=broken_at), TOY_PLAN, tmp_path / "run", what="toy")
        assert list(tmp_path.iterdir()) == []
    again = train(Toy(), TOY_PLAN, tmp_path / "run", what="toy")
    assert again.losses == pytest.approx(by_hand(TOY_PLAN), rel=1e-4)
    assert [reading.step for reading in readings(tmp_path / "run" / "meters")] == [24], "it went on from a checkpoint"


@pytest.mark.usefixtures("cluster")
def test_what_can_never_be_learnt_is_tried_once_and_says_why(tmp_path: Path) -> None:
    plan = replace(TOY_PLAN, workers=2)
    with pytest.raises(InvalidInput, match=r"No demonstration fits\. Raise generator\.context_tokens"):
        train(Unlearnable(tmp_path / "opened"), plan, tmp_path / "run", what="toy")
    assert len((tmp_path / "opened").read_text().splitlines()) <= plan.workers


@pytest.fixture
def heir() -> Iterator[None]:
    """Orphans fall to this process, which does not wait for them, as to a container's first process."""
    inherit = functools.partial(ctypes.CDLL(None, use_errno=True).prctl, 36)  # PR_SET_CHILD_SUBREAPER
    inherit(1, 0, 0, 0)
    yield
    inherit(0, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
@pytest.mark.usefixtures("heir")
def test_workers_end_with_a_training_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from kaizen.config import Settings; from tests.ray.lessons import Toy\n"
        "from train.connect import connected; from train.loop import train; from train.plan import Plan\n"
        "here = Path(sys.argv[1]); settings = Settings.model_validate({'workspace': {'directory': here}})\n"
        "with connected(settings, workers=1):\n"
        "    train(Toy(0.2), Plan(epochs=99, batch=4, learning_rate=1e-2), here / 'run', what='toy')"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=root, stderr=subprocess.DEVNULL) as training:
        try:
            eventually(lambda: list((tmp_path / "run" / "meters").glob("*.json")), 150, "it learns")
        finally:
            started = psutil.Process(training.pid).children(recursive=True)
            titles = [title_of(one) for one in started]
            training.kill()
    workers = [one for one, title in zip(started, titles, strict=True) if title.startswith("ray::RayTrainWorker")]
    try:
        # Ray's own agents try for a minute to tell somebody that it has ended.
        eventually(lambda: not any(alive(one) for one in workers), 10, "nobody learns on")
        assert workers
        assert not [title for title in titles if title.startswith(UNUSED)], "each takes seconds of CPU to start"
    finally:
        for one in started:
            with suppress(psutil.NoSuchProcess, ChildProcessError):
                one.kill()
                os.waitpid(one.pid, 0)


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.usefixtures("cluster")
def test_two_workers_learn_what_one_does(lesson: Lesson, tmp_path: Path) -> None:
    task = EmbedderTask(
        settings=lesson.workspace.settings,
        dataset=lesson.dataset.artifact,
        embedder=lesson.stable.parts["embedder"],
        negatives=1,
        seed=0,
    )
    plans = {
        "one": Plan(epochs=3, batch=8, learning_rate=1e-3, precision="float32", zero_stage=0),
        "two": Plan(epochs=3, batch=8, learning_rate=1e-3, precision="float32", zero_stage=3, workers=2),
    }
    one, two = (train(task, plan, tmp_path / name, what=name) for name, plan in plans.items())
    assert one.losses == pytest.approx(two.losses, rel=1e-3)
    assert one.losses[-1] < 0.9 * one.losses[0]
    assert set(one.weights) == set(two.weights)
    assert all(torch.allclose(one.weights[name], two.weights[name], atol=2e-3) for name in one.weights)


def test_the_embedder_learns_and_becomes_a_release_with_an_index_of_its_own(lesson: Lesson) -> None:
    made = lesson.run("train.embedder", "--batch", "8", "--max-steps", "4", "--learning-rate", "1e-3")
    candidate = lesson.workspace.ledger.candidates.get(made.id)
    assert (candidate.rung, candidate.record["figures"]["steps"], made.parent) == (3, 4, lesson.stable.id)
    assert index_of(made).id != index_of(lesson.stable).id
    directory = lesson.workspace.store.fetch_directory(made.parts["embedder"]["artifact"])
    assert OnnxEmbedder(EmbedderSpec.from_record(made.parts["embedder"]), directory).embed(["a pump"]).shape == (1, 32)
    assert list((lesson.workspace.settings.workspace.directory / "train").iterdir()) == []


def test_the_generator_learns_from_corrections_and_preferences(lesson: Lesson) -> None:
    made = lesson.run("train.generator", "--batch", "4", "--epochs", "10", "--learning-rate", "2e-2", "--workers", "2")
    figures = lesson.workspace.ledger.candidates.get(made.id).record["figures"]
    assert figures["loss_last"] < 0.95 * figures["loss_first"]
    assert index_of(made).id == index_of(lesson.stable).id
    settings = generator_of(made, lesson.workspace.settings.generator)
    generator = open_generator(settings, {}, lesson.workspace.model_path)
    assert dict(generator.record) == made.parts["generator"] != lesson.stable.parts["generator"]
