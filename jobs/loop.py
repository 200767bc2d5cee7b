"""The whole story in one run: people use the search, it learns from them, what is better ships, and we look.

    python -m jobs.loop [--dataset DIR] [--sessions N] [--noise P] [--hostile P] [--seed S] [--chart FILE] [--json]

    out of the box -> people search and click -> the steward notices and starts a turn: it curates, learns, judges ->
    the candidate is tried on people -> it wins, and is promoted -> queries that nobody ever clicked on tell the gain

Nothing here teaches, judges or promotes: the steward does, unattended, as it does in any installation. This file
starts a throw-away one, sends simulated people (`kaizen simulate`) who click by the judgements of the split `train`,
and at the end, once, measures both releases on the split `test`. Without --dataset it makes a small collection of the
documentation of this Python. Prints what it does, and at its end (with --json only that) one line: {"before":
{"ndcg@10": ..}, "after": {..}, "promoted": true, "release": .., "rungs": [{"rung": 1, "gain": .., "cost_cpu_s": ..,
"verdict": ..}], "seconds": ..}.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cluster.throwaway import Installation, installation, summary_of
from jobs.steps import Steps
from kaizen.commands.client import Client, Endpoint
from kaizen.commands.simulate import Plan, Summary, simulate
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.errors import DeadlineExceeded, InvalidInput, Unavailable
from kaizen.evaluation.bars import Group, bars_svg
from kaizen.evaluation.collection import Collection
from kaizen.evaluation.ranking import means, measure
from kaizen.evaluation.stdlib_collection import write_stdlib_collection
from kaizen.job import job_parser, print_result, run_job
from kaizen.offline import OfflineIndex, offline_queries, offline_rankings, open_query_embedder
from kaizen.records import Turn
from kaizen.release import ranker_of
from kaizen.workspace import Workspace, open_workspace

# Nobody asks for answers here, and a turn need not watch what it promoted for a day.
OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "generator": {"kind": "extractive"},
    "ingest": {"deduplicate": False},
    "learning": {"poll_seconds": 1.0, "guard_impressions": 300},
}
LEARNING_SECONDS = 1800.0
TRIAL_ROUNDS = 200  # sessions per query while a candidate is on trial: far more than it takes, the trial ends them
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who comes; see `kaizen simulate`."""

    sessions: int
    noise: float
    hostile: float
    seed: int

    def __post_init__(self) -> None:
        self.plan(first=True)  # which refuses what cannot be: now, and not after the documents were taken in

    def plan(self, *, first: bool) -> Plan:
        """Those who come before the turn, or those on whom its candidate is tried: other days, the same people."""
        seed = self.seed if first else self.seed + 1
        sessions = self.sessions if first else TRIAL_ROUNDS
        return Plan(sessions=sessions, noise=self.noise, hostile=self.hostile, seed=seed)


class Loop:
    """Tells what happens on standard error, and returns the figures."""

    def __init__(self, *, quiet: bool) -> None:
        self._steps = Steps(quiet=quiet)
        self._out, self._step = self._steps.out, self._steps.step

    def run(self, settings: Settings, dataset: Path, people: People) -> dict[str, Any]:
        """Go round once."""
        started = time.perf_counter()
        train, test = Collection.open(dataset, "train"), Collection.open(dataset, "test")
        train.check_asked()
        with ExitStack() as stack:
            with self._step("Starting an installation of its own"):
                running = stack.enter_context(installation(settings, OVERRIDES))
            workspace = open_workspace(load_settings(running.config).settings)
            workspace.ledger.turns.pause(True)  # the first people come before it looks: one turn, on all they did
            with self._step("Taking the documents in"):
                corpus = str(dataset / "corpus.jsonl")
                summary_of(running.run("jobs.ingest", corpus, "--json", quiet=self._steps.quiet))
            with self._step(f"People ask {len(train.queries)} queries and click what they like"):
                clicked = self._people(running, train, people.plan(first=True), until=None)
            workspace.ledger.turns.pause(False)
            with self._step("The steward notices, curates, learns and judges"):
                turn = self._learned(running, workspace)
            with self._step("People try its candidate"):
                tried = self._tried(running, workspace, turn, train, people)
            turn = workspace.ledger.turns.get(turn.id)
            with self._step(f"Measuring both releases on {len(test.queries)} queries that nobody clicked on"):
                result = self._result(workspace, turn, test)
        seconds = round(time.perf_counter() - started, 1)
        return {**result, "sessions": clicked.sessions, "trial_sessions": tried.sessions, "seconds": seconds}

    def _people(
        self, running: Installation, train: Collection, plan: Plan, until: Callable[[Summary], bool] | None
    ) -> Summary:
        endpoint = Endpoint(running.state.url, running.key.reveal())
        with Progress(console=self._out, transient=True) as bar:
            task = bar.add_task("sessions", total=None)
            summary = simulate(
                lambda: Client(endpoint),
                train,
                plan,
                until=until,
                progress=lambda done, all_: bar.update(task, completed=done, total=all_ if until is None else None),
            )
        self._out.print(f"  {summary.sessions} sessions, {summary.clicks} clicks, {summary.seconds:.0f} s")
        return summary

    def _learned(self, running: Installation, workspace: Workspace) -> Turn:
        """Wait until the turn puts a candidate before people, or ends without one."""
        deadline, pause, said = time.monotonic() + LEARNING_SECONDS, threading.Event(), set[int]()
        while time.monotonic() < deadline:
            turn = next(iter(workspace.ledger.turns.newest(1)), None)
            if turn is not None:
                for decision in reversed(workspace.ledger.decisions.newest(turn=turn.id)):
                    if decision.seq not in said:
                        said.add(decision.seq)
                        self._out.print(f"  [bold]{decision.kind}[/bold] {decision.release}", decision.reason)
                if turn.finished or workspace.ledger.rollout.state().challenger:
                    return turn
            pause.wait(LOOK_SECONDS)
        raise DeadlineExceeded(
            f"The steward had no candidate and no end after {LEARNING_SECONDS:.0f} s.\n{running.log_end()}",
            advice="Above is the end of its logs; the machine may be too slow or too busy.",
        )

    def _tried(
        self, running: Installation, workspace: Workspace, turn: Turn, train: Collection, people: People
    ) -> Summary:
        """People go on using the service until the turn is over; nobody tells them that there is a trial."""
        if turn.finished:
            return Summary()
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_SECONDS):
                if workspace.ledger.turns.get(turn.id).finished:
                    over.set()

        threading.Thread(target=watch, daemon=True).start()
        try:
            return self._people(running, train, people.plan(first=False), until=lambda _: over.is_set())
        finally:
            over.set()

    def _result(self, workspace: Workspace, turn: Turn, test: Collection) -> dict[str, Any]:
        attempts = turn.state["attempts"]
        stable = workspace.ledger.rollout.current() or ""
        return {
            "dataset": test.directory.name,
            "before": quality(workspace, turn.state["stable"], test),
            "after": quality(workspace, stable, test),
            "promoted": turn.outcome == "promoted",
            "release": stable,
            "outcome": turn.outcome,
            "reason": turn.state["reason"],
            "rungs": [
                {
                    "rung": one["rung"],
                    "gain": one["gain"],
                    "cost_cpu_s": round(one["cpu_s"], 1),
                    "verdict": one["verdict"],
                    "reason": one["reason"],
                }
                for one in attempts
            ],
        }


def quality(workspace: Workspace, release_id: str, test: Collection) -> dict[str, float]:
    """nDCG@10, recall@100 and MRR@10 of a release's hybrid search."""
    release = workspace.ledger.releases.get(release_id)
    tenant = workspace.settings.workspace.tenant
    index = OfflineIndex.open(workspace, release)
    texts = [(text, tenant, ()) for text in test.queries.values()]
    asked = offline_queries(texts, open_query_embedder(workspace, release))
    rankings = offline_rankings(index, release, ranker_of(release, workspace.store), asked)
    found = means(measure(dict(zip(test.queries, rankings, strict=True)), test.judgements))
    return {name: round(value, 4) for name, value in found.items()}


def chart(result: Mapping[str, Any]) -> str:
    """The gain on unseen queries, and what each rung was judged to bring, as SVG."""
    metrics = [
        Group(title=name, unit="", bars=[("before", result["before"][name]), ("after", result["after"][name])])
        for name in ("ndcg@10", "mrr@10", "recall@100")
    ]
    rungs = [
        (f"{number}: rung {rung['rung']}", max(0.0, rung["gain"] or 0.0))
        for number, rung in enumerate(result["rungs"], start=1)
    ]
    judged = [Group(title="gain when judged, nDCG@10", unit="", bars=rungs)] if rungs else []
    return bars_svg(f"One turn of the loop on {result['dataset']}: {result['outcome']}", [*metrics, *judged])


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = job_parser("jobs.loop", __doc__)
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="BEIR layout with splits train and test")
    parser.add_argument(
        "--sessions", type=int, default=8, metavar="N", help="of people per query, before the turn; default: 8"
    )
    parser.add_argument(
        "--noise", type=float, default=0.1, metavar="P", help="share of the sessions that click at random; default: .1"
    )
    parser.add_argument(
        "--hostile", type=float, default=0.1, metavar="P", help="share of the people who push documents; default: .1"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same people")
    parser.add_argument("--chart", type=Path, default=Path("loop.svg"), metavar="FILE", help="default: ./loop.svg")
    return run_job(_loop, parser.parse_args(arguments))


def _loop(options: argparse.Namespace) -> None:
    people = People(sessions=options.sessions, noise=options.noise, hostile=options.hostile, seed=options.seed)
    _check_chart(options.chart)
    settings = load_settings(options.config).settings
    with tempfile.TemporaryDirectory() as scratch:
        dataset = options.dataset or Path(scratch)
        if options.dataset is None:
            write_stdlib_collection(dataset)
        result = Loop(quiet=options.json).run(settings, dataset, people)
    result = {**result, "dataset": options.dataset.name if options.dataset else "python-documentation"}
    if not options.json:
        _show(result)
    print_result(result)
    _draw(result, options.chart)
    if not options.json:
        sys.stderr.write(f"The chart is in {options.chart}.\n")


def _check_chart(path: Path) -> None:
    """Raise InvalidInput where no file can be written: the run takes minutes."""
    there = path if path.exists() else path.parent
    if path.is_dir() or not path.parent.is_dir() or not os.access(there, os.W_OK):
        raise InvalidInput(
            f"The chart cannot be written to {path}.",
            advice="Name, with --chart, a file in a folder that is there and that you may write to.",
        )


def _draw(result: Mapping[str, Any], path: Path) -> None:
    """The result was printed before: it took minutes, and a full disk must not cost it."""
    try:
        path.write_text(chart(result), encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"The chart was not written to {path}: {error}.", advice="The result is whole.") from error


def _show(result: Mapping[str, Any]) -> None:
    console = Console()
    table = Table(title=f"Unseen queries of {result['dataset']}, release {result['release']}: {result['outcome']}")
    for name in ("", *result["before"]):
        table.add_column(name)
    for when in ("before", "after"):
        table.add_row(when, *(f"{value:.4f}" for value in result[when].values()))
    console.print(table)
    for rung in result["rungs"]:
        console.print(f"rung {rung['rung']}: {rung['verdict']} ({rung['cost_cpu_s']} CPU-seconds). {rung['reason']}")
    console.print(f"{result['reason']}\n{result['seconds']} s")


if __name__ == "__main__":
    sys.exit(main())
