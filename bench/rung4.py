"""Rung 4 on the default generator, from what people said of its answers to a candidate that is judged.

    python -m bench.rung4 [--questions N] [--steps N] [--batch N] [--learning-rate X] [--json]

The documents are pages of the documentation of this Python. People ask what a thing does; the present generator
answers. They correct every second answer (the first sentence of the page is what they write); of the others they see
another one as well, that sentence, and give thumbs, up to it and down to the generator's. `jobs.curate` makes a data
set of impressions and feedback, so both imitation and DPO are there; queries that it holds out are not learnt from.
`python -m train.generator` learns; it is killed a step behind a checkpoint, all that it started has to end, and the
same command goes on. Both generators then answer what was learnt and what was held out, and `jobs.judge` gives its
verdict on the candidate. Minutes on two cores. Prints one line

    {"questions": .., "demonstrations": .., "steps": .., "killed_at": .., "ended_after_s": .., "went_on_after": ..,
     "cpu_s": .., "wall_s": .., "peak_gb": .., "loss_first": .., "loss_last": .., "export_divergence": ..,
     "agreement": {"trained": {"before": .., "after": ..}, "held_out": {..}}, "said": {"trained": {..}, ..},
     "verdict": .., "reason": ..}

and writes bench/out/rung4.svg. `wall_s` is of both runs together, `cpu_s` as the candidate's record has it; `export_s`
is what follows the last step: its checkpoint, merging, writing, opening and storing the model, ending Ray.
`export_divergence`: nats between the next token of what learnt and of what was exported. `agreement`: F1 of the words
with what people wrote.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from bench.process_tree import watched
from cluster.throwaway import environment, write_config
from jobs.build_release import build_release
from kaizen.answering.source import Source
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.errors import DeadlineExceeded, Unavailable
from kaizen.evaluation.bars import Group
from kaizen.evaluation.verdict import AGREEMENT
from kaizen.ids import chunk_id
from kaizen.judging.answers import Answerer, Question, compare_answers
from kaizen.learning.dataset import read_dataset
from kaizen.records import Document, Feedback, FeedbackKind, Impression, Release, ShownChunk, identity_of
from kaizen.text.stdlib_corpus import stdlib_documents
from kaizen.workspace import Workspace, open_workspace

CHECKPOINT_STEPS = 2
KILL_AT = CHECKPOINT_STEPS + 1
ASKED_AGAIN = 6  # trained questions that both generators answer; and so many that were held out
ANSWER_TOKENS = 48
PATIENCE_SECONDS = 3000.0
LINGER_SECONDS = 90.0  # Ray's own agents try for a minute to tell somebody that it has ended
LOOK_SECONDS = 0.1
KEY, PEOPLE = "bench", 12
_PAGE = range(120, 500)  # characters: a prompt is read in every step, and on a small machine
_FIRST = re.compile(r"[A-Z][^\n]{30,140}?\.(?=\s|$)")
_MB, _GB = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Page:
    """A document and what somebody who has read it says that it is about."""

    id: str
    title: str
    text: str
    says: str

    @property
    def question(self) -> Question:
        """What people ask, with the page as its source."""
        chunk = chunk_id(self.id, 0)
        source = Source(chunk_id=chunk, document_id=self.id, title=self.title, text=self.text, score=1.0)
        return Question(text=f"What does {self.title} do?", sources=(source,), wanted=self.says)


@dataclass(slots=True)
class Run:
    """One call of the command. `steps`: seconds since its begin at which a step was first seen to be done.

    `ended_after`: seconds from a kill until nothing was left of what it had started.
    """

    printed: str = ""
    seconds: float = 0.0
    ended_after: float = 0.0
    peak_bytes: int = 0
    checkpoint_bytes: int = 0
    steps: dict[int, float] = field(default_factory=dict)


class Lesson:
    """An installation's state without its service: pages, what people said of the answers, and who learns from it."""

    def __init__(self, folder: Path, questions: int) -> None:
        self._config = write_config(folder, Settings(), {"generator": {"max_tokens": ANSWER_TOKENS, "threads": 1}})
        self.workspace: Workspace = open_workspace(load_settings(self._config).settings)
        self.pages = _pages(questions)
        tenant = self.workspace.settings.workspace.tenant
        documents = [Document(tenant=tenant, id=page.id, title=page.title, text=page.text) for page in self.pages]
        self.workspace.ledger.documents.upsert_many(documents)
        self.stable: Release = build_release(self.workspace)
        self.command("jobs.build_index")

    def asked(self) -> None:
        """People ask what each page is about, and say what they think of the answers."""
        with closing(Answerer(self.workspace, self.stable, {})) as present:
            for number, page in enumerate(self.pages):
                said, *_ = present.raw(page.question)
                who = f"person-{number % PEOPLE}"
                shown = self._shown(number, page, said, who)
                if number % 2:
                    self._say(shown, "thumb", value=-1.0)
                    self._say(self._shown(number, page, f"{page.says} [1]", who), "thumb", value=1.0)
                else:
                    self._say(shown, "correction", text=page.says)

    def command(self, module: str, *arguments: str) -> dict[str, Any]:
        """What one of the product's commands prints."""
        command = [*self._line(module), *arguments]
        done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)  # noqa: S603 (our own modules)
        if done.returncode:
            raise Unavailable(f"{module} failed: {done.stderr[-2000:]}", advice="Read what it says above.")
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return told

    def train(self, *arguments: str, kill_at: int = 0) -> Run:
        """Run the training to its end, or kill it at step `kill_at`; then all that it started has to end, too."""
        run, began, before = Run(), time.monotonic(), set(self._meters())
        line = [*self._line("train.generator"), "--checkpoint-steps", str(CHECKPOINT_STEPS), *arguments]
        with subprocess.Popen(  # noqa: S603 (our own module)
            line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as command:
            with watched(command.pid) as tree:
                while command.poll() is None and not (kill_at and max(run.steps, default=0) >= kill_at):
                    self._look(run, before, time.monotonic() - began)
                started, killed = tree.processes(), command.poll() is None
                ended = time.monotonic()
                command.kill()
                run.printed, errors = command.communicate()
            run.seconds, run.peak_bytes = ended - began, tree.peak_bytes
        if killed != bool(kill_at) or (command.returncode and not killed):
            raise Unavailable(f"The training ended by itself: {errors[-2000:]}", advice="Run it by hand.")
        _wait_for_the_end(started)
        run.ended_after = time.monotonic() - ended
        return run

    def compared(self, release: str, dataset: str) -> dict[str, Any]:
        """How both generators answer some questions that were learnt, and those that were held out."""
        sides = {row["query"]: row["split"] for row in self._demonstrations(dataset)}
        learnt = self.workspace.ledger.releases.get(release)
        agreement, said = {}, {}
        with (
            closing(Answerer(self.workspace, self.stable, {})) as before,
            closing(Answerer(self.workspace, learnt, {})) as after,
        ):
            for name, side in (("trained", "train"), ("held_out", "held_out")):
                asked = [page.question for page in self.pages if sides.get(page.question.text) == side][:ASKED_AGAIN]
                found = compare_answers(before, after, asked).metrics[AGREEMENT]
                agreement[name] = {"before": round(found.stable, 3), "after": round(found.candidate, 3)}
                (old, *_), (new, *_) = before.raw(asked[0]), after.raw(asked[0])
                said[name] = {"question": asked[0].text, "wanted": asked[0].wanted, "before": old, "after": new}
        return {"agreement": agreement, "said": said}

    def exported_bytes(self, release: str) -> int:
        """Size of the model that was made."""
        model = self.workspace.ledger.releases.get(release).parts["generator"]["model"]
        return _size(self.workspace.model_path(model))

    def _line(self, module: str) -> list[str]:
        return [sys.executable, "-P", "-m", module, "--config", str(self._config), "--json"]

    def _demonstrations(self, dataset: str) -> list[dict[str, Any]]:
        artifact = self.workspace.ledger.datasets.get(dataset).artifact
        rows: list[dict[str, Any]] = read_dataset(self.workspace.store, artifact).demonstrations.to_pylist()
        return rows

    def _shown(self, number: int, page: Page, answer: str, who: str) -> Impression:
        ledger = self.workspace.ledger
        chunk = ShownChunk(
            chunk_id=chunk_id(page.id, 0), document_id=page.id, position=1, score=1.0, dense=1.0, lexical=1.0,
            propensity=1.0,
        )  # fmt: skip
        made = Impression(
            id=f"imp_{ledger.impressions.end() + 1}", at=time.time(), tenant=self.workspace.settings.workspace.tenant,
            key_id=KEY, release=self.stable.id, index_seq=0, kind="answer", query=page.question.text, mode="hybrid",
            shown=(chunk,), answer=answer, coverage=1.0, degraded=(), timings_ms={"total": 1.0}, user=who,
        )  # fmt: skip
        ledger.impressions.record(made)
        return made

    def _say(self, shown: Impression, kind: FeedbackKind, *, value: float | None = None, text: str = "") -> None:
        given = Feedback(
            id=f"fb_{shown.id}", at=time.time(), tenant=shown.tenant, impression_id=shown.id, kind=kind, chunk_id="",
            value=value, text=text, identity=identity_of(KEY, shown.user), idempotency_key=shown.id,
        )  # fmt: skip
        self.workspace.ledger.feedback.record(given)

    def _look(self, run: Run, before: set[Path], seconds: float) -> None:
        if seconds > PATIENCE_SECONDS:
            raise DeadlineExceeded(f"No end in {PATIENCE_SECONDS:.0f} s.", advice="Give --steps and --batch less.")
        for meter in set(self._meters()) - before:
            run.steps.setdefault(json.loads(meter.read_text())["step"], seconds)
        kept = [_size(folder) for folder in self._runs("checkpoint_*")]
        run.checkpoint_bytes = max(run.checkpoint_bytes, *kept, 0)
        threading.Event().wait(LOOK_SECONDS)

    def _meters(self) -> list[Path]:
        return self._runs("meters/*.json")

    def _runs(self, pattern: str) -> list[Path]:
        return list((self.workspace.settings.workspace.directory / "train").glob(f"rung4-*/{pattern}"))


def measure(questions: int, *settings: str) -> dict[str, Any]:
    """Ask, learn with a kill on the way, look at what came of it; returns the object that is printed."""
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as scratch:
        lesson = Lesson(Path(scratch), questions)
        console.print(f"people ask {questions} questions and judge the answers")
        lesson.asked()
        curated = lesson.command("jobs.curate")
        settings = ("--dataset", curated["dataset"], *settings)
        console.print(f"{curated['demonstrations']} demonstrations; the training is killed at step {KILL_AT}")
        first = lesson.train(*settings, kill_at=KILL_AT)
        console.print(f"killed after {first.seconds:.0f} s, gone {first.ended_after:.1f} s later; the same again")
        second = lesson.train(*settings)
        told = json.loads(second.printed)
        console.print(f"{told['release']} after {second.seconds:.0f} s; both generators answer, and it is judged")
        judged = lesson.command("jobs.judge", told["release"])
        return {
            "questions": questions,
            "demonstrations": curated["demonstrations"],
            "learnt_from": told["figures"]["demonstrations"],
            "steps": told["figures"]["steps"],
            "killed_at": max(first.steps),
            "ended_after_s": round(first.ended_after, 1),
            "went_on_after": min(second.steps) - 1,
            "cpu_s": told["cost"]["cpu_s"],
            "wall_s": round(first.seconds + second.seconds, 1),
            "step_s": round(_step_seconds(second), 2),
            "export_s": round(second.seconds - max(second.steps.values()), 1),
            "peak_gb": round(max(first.peak_bytes, second.peak_bytes) / _GB, 2),
            "checkpoint_mb": round(second.checkpoint_bytes / _MB, 1),
            "export_mb": round(lesson.exported_bytes(told["release"]) / _MB, 1),
            "export_divergence": told["figures"]["export_divergence"],
            "loss_first": told["figures"]["loss_first"],
            "loss_last": told["figures"]["loss_last"],
            **lesson.compared(told["release"], curated["dataset"]),
            "verdict": judged["verdict"],
            "reason": judged["reason"],
        }


def _wait_for_the_end(processes: Sequence[psutil.Process]) -> None:
    """Wait until none lives. Raises Unavailable when one stays."""
    began = time.monotonic()
    while left := [process for process in processes if _lives(process)]:
        if time.monotonic() > began + LINGER_SECONDS:
            names = ", ".join(" ".join(process.cmdline())[:80] for process in left)
            raise Unavailable(f"What the training started outlived it: {names}.", advice="See `ps`.")
        threading.Event().wait(LOOK_SECONDS)


def _lives(process: psutil.Process) -> bool:
    """A zombie has ended: who should have waited for it was killed."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _step_seconds(run: Run) -> float:
    """Of a step, its share of the checkpoints included."""
    first, last = min(run.steps), max(run.steps)
    return (run.steps[last] - run.steps[first]) / max(1, last - first)


def _size(folder: Path) -> int:
    """Bytes of the files below; one that is gone meanwhile has none."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _pages(count: int) -> list[Page]:
    """Short pages of this Python's documentation, the same for the same Python."""
    found = list(_plain_pages())
    return random.Random(0).sample(found, count)  # noqa: S311 (no secret)


def _plain_pages() -> Iterator[Page]:
    for row in stdlib_documents():
        says = _FIRST.match(row["text"].partition("\n\n")[2])  # the first sentence of the docstring
        if says and len(row["text"]) in _PAGE:
            yield Page(row["id"], row["title"], row["text"], says.group())


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.rung4", __doc__)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    options = parser.parse_args(arguments)
    result = measure(
        options.questions,
        "--max-steps", str(options.steps), "--batch", str(options.batch), "--learning-rate", str(options.learning_rate),
    )  # fmt: skip
    chart = write_chart(
        "rung4",
        f"The default generator learns: {result['steps']} steps of {options.batch}, killed once on the way",
        [
            Group(title="time", unit="s", bars=[("a step", result["step_s"]), ("export", result["export_s"])]),
            Group(title="loss", unit="", bars=[("first", result["loss_first"]), ("last", result["loss_last"])]),
            *(
                Group(title=f"agreement, {name.replace('_', ' ')}", unit="", bars=list(figures.items()))
                for name, figures in result["agreement"].items()
            ),
        ],
    )
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
