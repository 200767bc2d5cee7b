"""Try other settings of a release: how it ranks, how it answers, how its query encoder learns; keep what proves better.

    python -m tune.sweep --what retrieval|training|answering [--release ID] [--dataset ID] [--trials N] [--name NAME]
        [--turn ID] [--seed N] [--config FILE] [--json]

Trials compete on one half of the judged queries: the trusted ones, or those of a data set. The winner is then compared
with the present settings on the other half. If it is proven better there, a candidate release is recorded; it is judged
as any other. The same command again, after a kill, goes on where it was, as long as it is judged on the same; what has
ended is told again as long as the documents are the same, too. `--name` names a sweep, else its arguments and what it
is judged on do. Result, table and chart are kept in the object store under sweeps/NAME.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import Progress

from kaizen.evaluation.paired import Paired, compare
from kaizen.evaluation.ranking import ndcg
from kaizen.job import configured_workspace, job_parser, run_job
from kaizen.judging.query_sets import Asked
from kaizen.learning.sweep import PRESENT, Trial, best, conclude, luck
from kaizen.offline import OfflineIndex, open_query_embedder
from kaizen.records import Candidate, Dataset
from kaizen.release import ranker_of, retrieval_of
from kaizen.workspace import Workspace
from train.connect import connected
from train.query_encoder import Places, learn, query_examples
from train.recording import Clock, Lesson, record
from tune.answering import AnsweringStudy, answering_part, questions
from tune.asked import Planned, Wish, planned, wanted
from tune.judged import Judged, Judgements, judgements_for
from tune.outcome import chart, outcome, table
from tune.retrieval import CUT, RetrievalStudy, judged_pools, rankings
from tune.spaces import Drawn, retrieval_settings
from tune.study import Study
from tune.training import TrainingStudy, planned_training
from tune.trials import run_trials

_RUNGS = {"retrieval": 0, "training": 2, "answering": 0}


def sweep(workspace: Workspace, wish: Wish, progress: Progress) -> tuple[str, dict[str, Any]]:
    """Run a sweep to its end, or go on with it; return its name and its result. Raises KaizenError.

    `again` in the result: it had ended before, and nothing was run.
    """
    clock = Clock()
    base, dataset = wanted(workspace, wish)
    index = OfflineIndex.open_whole(workspace, base)
    known = judgements_for(workspace, base, dataset, trains=wish.what == "training")
    plan = planned(workspace.store, wish, base, dataset, known, index)
    judged = _judged(workspace, plan, known, index)
    begun = plan.record()
    plan.kept.begin(begun, judged.left_out)
    if (ended := plan.kept.read("result.json")) is not None:
        return plan.kept.name, {**ended, "again": True}
    trials = _trials(workspace, plan, lambda: _study(workspace, plan, judged, index), progress)
    test = _test(workspace, plan, judged, index, trials)
    lucky = luck(trials, seed=plan.seed)
    concluded = conclude(trials, lucky, test)
    cost = clock.cost()
    cost["cpu_s"] = round(cost["cpu_s"] + sum(trial.cpu_s for trial in trials), 2)
    candidate = (
        _candidate(workspace, plan, best(trials), test, cost, progress) if concluded.decision == "proven" else None
    )
    result = outcome(
        begun,
        judged.record(),
        plan.seqs,
        trials,
        lucky=lucky,
        test=test,
        concluded=concluded,
        left_out=len(judged.left_out),
        release=candidate.release if candidate else None,
        cost=cost,
    )
    workspace.store.put_bytes(f"{plan.kept.prefix}/chart.svg", chart(result).encode())
    plan.kept.write("result.json", result)
    return plan.kept.name, {**result, "again": False}


def _judged(workspace: Workspace, plan: Planned, known: Judgements, index: OfflineIndex) -> Judged:
    """The queries that it began with; of a new sweep those whose documents are there now."""
    left_out = plan.kept.left_out()
    return known.judged(index, known.without_documents(workspace.ledger) if left_out is None else left_out)


def _study(workspace: Workspace, plan: Planned, judged: Judged, index: OfflineIndex) -> Study:
    if plan.what == "training":
        examples = query_examples(_lesson(workspace, plan), index, Places(index))
        return TrainingStudy(
            settings=workspace.settings,
            base=plan.base,
            examples=examples,
            validation=judged.validation,
            test=judged.test,
        )
    if plan.what == "answering":
        return _answering(workspace, plan, index, judged.validation)
    present = retrieval_of(plan.base)
    embed = open_query_embedder(workspace, plan.base)
    return RetrievalStudy(
        present=present,
        ranker=ranker_of(plan.base, workspace.store),
        pools=judged_pools(index, embed, judged.validation, present, list(plan.drawn.values())),
    )


def _answering(workspace: Workspace, plan: Planned, index: OfflineIndex, asked: Mapping[str, Asked]) -> AnsweringStudy:
    found = questions(workspace, plan.base, index, asked)
    return AnsweringStudy(settings=workspace.settings, base=plan.base, questions=found)


def _trials(workspace: Workspace, plan: Planned, study: Callable[[], Study], progress: Progress) -> list[Trial]:
    """Run what is not kept yet; return all."""
    ended = {trial.number for trial in plan.kept.trials()}
    left = {number: drawn for number, drawn in plan.drawn.items() if number not in ended}
    task = progress.add_task(f"{plan.what} trials", total=len(plan.drawn), completed=len(ended))

    def keep(trial: Trial) -> None:
        plan.kept.add(trial)
        progress.advance(task)

    if left:
        with connected(workspace.settings, workers=1):
            folder = workspace.settings.workspace.directory / "sweeps" / plan.kept.name
            run_trials(study(), left, folder, keep)
    return plan.kept.trials()


def _test(
    workspace: Workspace, plan: Planned, judged: Judged, index: OfflineIndex, trials: list[Trial]
) -> Paired | None:
    """Compare the winner with the present settings where no choice was made."""
    winner, present = best(trials), next(trial for trial in trials if trial.number == PRESENT)
    if winner.number == PRESENT:
        return None
    if plan.what == "training":
        return compare(present.test, winner.test)
    if plan.what == "answering":
        study = _answering(workspace, plan, index, judged.test)
        return compare(study.values(present.settings), study.values(winner.settings))
    embed = open_query_embedder(workspace, plan.base)
    ranker = ranker_of(plan.base, workspace.store)
    settings = retrieval_of(plan.base)

    def measured(drawn: Mapping[str, Any]) -> dict[str, float]:
        used = ranker if drawn.get("ranker") else None
        found = rankings(index, embed, judged.test, retrieval_settings(settings, dict(drawn)), used)
        return {name: ndcg(found[name], one.grades, CUT) for name, one in judged.test.items()}

    return compare(measured(present.settings), measured(winner.settings))


def _candidate(
    workspace: Workspace,
    plan: Planned,
    winner: Trial,
    test: Paired | None,
    cost: Mapping[str, float],
    progress: Progress,
) -> Candidate:
    lesson = _lesson(workspace, plan)
    if plan.what == "training":
        return learn(lesson, planned_training(plan.base, winner.settings), progress)
    parts = _changed(plan, winner.settings)
    figures = {"sweep": plan.kept.name, "trials": len(plan.drawn), "gain": round(test.difference, 4) if test else 0.0}
    return record(lesson, parts, settings=winner.settings, cost=cost, figures=figures)


def _changed(plan: Planned, drawn: Drawn | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The parts of the release that the winner changes; an empty ranker is none."""
    if plan.what == "answering":
        return {"prompt": answering_part(plan.base, drawn)}
    part = retrieval_settings(retrieval_of(plan.base), dict(drawn)).model_dump()
    return {"retrieval": part, **({"ranker": {}} if drawn.get("ranker") is False else {})}


def _lesson(workspace: Workspace, plan: Planned) -> Lesson:
    """Settings of retrieval may be swept without a data set, on trusted queries."""
    none = Dataset(id="", at=0.0, artifact="", record={})
    return Lesson(
        workspace=workspace, parent=plan.base, dataset=plan.dataset or none, rung=_RUNGS[plan.what], turn=plan.turn
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status: 0 also when nothing better was found."""
    parser = job_parser("tune.sweep", __doc__)
    parser.add_argument("--what", choices=tuple(_RUNGS), required=True)
    parser.add_argument("--release", help="default: the stable one")
    parser.add_argument("--dataset", help="id of a data set that jobs.curate made; default: the newest")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--name", help="default: made of the arguments and judgements")
    parser.add_argument("--turn", default="", help="turn of the steward that this belongs to")
    parser.add_argument("--seed", type=int, default=0)
    return run_job(_sweep, parser.parse_args(arguments))


def _sweep(options: argparse.Namespace) -> None:
    workspace = configured_workspace(options)
    wish = Wish(**{name: value for name, value in vars(options).items() if name not in ("config", "json")})
    with Progress(console=Console(stderr=True), transient=True) as progress:
        name, result = sweep(workspace, wish, progress)
    _tell(workspace, name, result, as_json=options.json)


def _tell(workspace: Workspace, name: str, result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"name": name, **result}) + "\n")
        return
    if result["again"]:
        sys.stdout.write(f"{_earlier(result['at'])}\n")
    Console().print(table(result))
    sys.stdout.write(f"{result['decision']}: {result['reason']}\n")
    if result["release"]:
        sys.stdout.write(f"candidate {result['release']}: `kaizen judge {result['release']}` judges it\n")
    sys.stdout.write(f"chart: {workspace.store.uri}/sweeps/{name}/chart.svg\n")


def _earlier(at: float) -> str:
    when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Ended {when}; not run again. Another --name runs it anew."


if __name__ == "__main__":
    sys.exit(main())
