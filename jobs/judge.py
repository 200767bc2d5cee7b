"""Judge a candidate against the stable release: is it whole, is it better, for whom, and at what cost?

    python -m jobs.judge RELEASE [--against RELEASE] [--dataset ID] [--config FILE] [--json]

In this order: integrity; the time of a query; answers on held-out demonstrations (when generator or prompt is another
one); rankings on the trusted set, on queries that the candidate did not learn from and on those that it did. The
report goes to the object store under `reports/RELEASE/ID` (report.json, report.html), the verdict to the ledger.

Prints the verdict, or with --json one line: {"release": .., "verdict": .., "code": .., "reason": .., "gain": ..}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from kaizen.errors import Conflict, NotFound
from kaizen.evaluation.report import build_report
from kaizen.evaluation.report_html import report_html
from kaizen.evaluation.trusted import Trusted, trusted_with_documents
from kaizen.evaluation.verdict import Compared, Evidence, Finding, VerdictBounds, judge, too_slow
from kaizen.ids import new_id
from kaizen.job import configured_workspace, job_parser, print_result, run_job
from kaizen.judging.answers import Answerer, Question, check_generator, compare_answers, demonstrated
from kaizen.judging.integrity import check_integrity
from kaizen.judging.query_sets import Asked, dataset_queries, slices_of, trusted_queries
from kaizen.judging.side import Side, as_everybody, compare_sides, compare_speed
from kaizen.learning.dataset import DatasetContent, read_dataset
from kaizen.records import Candidate, Release
from kaizen.release import generator_of
from kaizen.workspace import Workspace

MOST_QUERIES = {"trusted": 2000, "held_out": 1000, "train": 200}
MOST_ANSWERS = 40
PROBES = 6
PROBE_SOURCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is judged, and all that is known of it."""

    candidate: Release
    stable: Release
    learnt: Candidate | None
    dataset: DatasetContent | None

    @property
    def cpu_s(self) -> float:
        """What it cost to learn, GPU time included."""
        cost: Mapping[str, float] = self.learnt.record.get("cost", {}) if self.learnt else {}
        return float(cost.get("cpu_s", 0.0)) + float(cost.get("gpu_s", 0.0))

    @property
    def answers_change(self) -> bool:
        """Whether its generator is another one, or is told or given something else."""
        return any(self.candidate.parts[part] != self.stable.parts[part] for part in ("generator", "prompt"))


def judge_release(
    workspace: Workspace,
    release: str,
    against: str | None = None,
    bounds: VerdictBounds | None = None,
    dataset: str | None = None,
) -> dict[str, Any]:
    """Judge a release, store report and verdict, and return the report. Raises KaizenError.

    Args:
        dataset: whose queries it is judged on; None: of the one that it was learnt from, or else of the newest.
    """
    limits = bounds or VerdictBounds()
    case = _case(workspace, release, against, dataset)
    evidence, seq = _evidence(workspace, case, limits)
    report = build_report(
        name=f"reports/{release}/{new_id('report')}",
        candidate=case.candidate.id,
        stable=case.stable.id,
        at=time.time(),
        index_seq=seq,
        record=case.learnt.record if case.learnt else {},
        evidence=evidence,
        bounds=limits,
        judged=judge(evidence, limits),
    )
    _store(workspace, report, candidate=case.learnt is not None)
    return report


def _case(workspace: Workspace, release: str, against: str | None, dataset: str | None) -> Case:
    ledger = workspace.ledger
    stable = against or ledger.rollout.current()
    if stable is None:
        raise NotFound("There is no stable release to judge against.", advice="Name one with --against.")
    if stable == release:
        raise Conflict(f"{release} would be judged against itself.", advice="Name another release with --against.")
    learnt = next((one for one in ledger.candidates.list() if one.release == release), None)
    named = dataset or (learnt.record.get("dataset") if learnt else None)
    recorded = ledger.datasets.get(named) if named else ledger.datasets.newest()
    return Case(
        candidate=ledger.releases.get(release),
        stable=ledger.releases.get(stable),
        learnt=learnt,
        dataset=read_dataset(workspace.store, recorded.artifact) if recorded else None,
    )


def _evidence(workspace: Workspace, case: Case, bounds: VerdictBounds) -> tuple[Evidence, int]:
    """Measure until something is decisive; return it with the `seq` of the index."""
    findings = check_integrity(workspace, case.candidate, case.stable)
    if findings:
        return Evidence(findings=findings, cpu_s=case.cpu_s), 0
    stable = Side.open(workspace, case.stable)
    candidate = Side.open(workspace, case.candidate, beside=stable)
    known = trusted_with_documents(workspace.ledger.judgements.all(), workspace.ledger)
    sets = _sets(known, case, stable)
    asked = [one for queries in sets.values() for one in queries.values()]
    seq = min(stable.index.seq, candidate.index.seq)
    speed = compare_speed(stable, candidate, asked) if asked else None
    if speed and too_slow(speed, bounds):
        return Evidence(p50_ms=speed, cpu_s=case.cpu_s), seq
    wrong, answers = _answers(workspace, case, _probes(candidate, asked))
    if wrong:
        return Evidence(findings=wrong, cpu_s=case.cpu_s), seq
    compared = {name: _compared(stable, candidate, queries) for name, queries in sets.items() if queries}
    evidence = Evidence(
        trusted=compared.get("trusted"),
        left_out=known.left_out,
        held_out=compared.get("held_out"),
        train=compared.get("train"),
        answers=answers,
        p50_ms=speed,
        cpu_s=case.cpu_s,
    )
    return evidence, seq


def _sets(known: Trusted, case: Case, side: Side) -> dict[str, dict[str, Asked]]:
    trusted = trusted_queries(known.judgements, MOST_QUERIES["trusted"])
    sets = {"trusted": as_everybody(trusted, side.index)}
    if case.dataset is not None:
        for split in ("held_out", "train"):
            sets[split] = dataset_queries(case.dataset.examples, split, MOST_QUERIES[split])
    return sets


def _compared(stable: Side, candidate: Side, asked: Mapping[str, Asked]) -> Compared:
    rows = stable.index.rows(["tenant", "document_id", "metadata"])
    return compare_sides(stable, candidate, asked, slices_of(asked, rows))


def _probes(side: Side, asked: Sequence[Asked]) -> list[Question]:
    return [Question(text=one.text, sources=tuple(side.sources(one, PROBE_SOURCES))) for one in asked[:PROBES]]


def _answers(workspace: Workspace, case: Case, probes: Sequence[Question]) -> tuple[Sequence[Finding], Compared | None]:
    """What is wrong with the candidate's generator, and how its answers compare."""
    if not case.answers_change:
        return (), None
    questions = demonstrated(case.dataset.demonstrations, MOST_ANSWERS) if case.dataset else []
    if generator_of(case.candidate, workspace.settings.generator).kind != "extractive":
        # Who learns from answers alone has judged no search: then what it is to answer is what it is probed with.
        findings = check_generator(workspace, case.candidate, probes or questions[:PROBES], os.environ)
        if findings:
            return findings, None
    if not questions:
        return (), None
    with (
        closing(Answerer(workspace, case.stable, os.environ)) as before,
        closing(Answerer(workspace, case.candidate, os.environ)) as after,
    ):
        return (), compare_answers(before, after, questions)


def _store(workspace: Workspace, report: Mapping[str, Any], *, candidate: bool) -> None:
    """The report first: a verdict in the ledger names one that is there."""
    name = report["name"]
    workspace.store.put_bytes(f"{name}/report.json", json.dumps(report, indent=1).encode())
    workspace.store.put_bytes(f"{name}/report.html", report_html(report).encode())
    if candidate:
        workspace.ledger.candidates.judge(
            report["candidate"], verdict=report["verdict"], reason=report["reason"], report=name
        )


def _line(report: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: report[name] for name in ("verdict", "code", "reason", "stable")}
    sets = {name: found["metrics"] for name, found in report["sets"].items()}
    return {
        "release": report["candidate"],
        **told,
        "gain": report["cost"]["gain"],
        "cost": report["cost"],
        "metrics": {name: {metric: figure["difference"] for metric, figure in f.items()} for name, f in sets.items()},
        "report": report["name"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status: 0 whatever the verdict is."""
    parser = job_parser("jobs.judge", __doc__)
    parser.add_argument("release")
    parser.add_argument("--against", metavar="RELEASE", help="default: the stable release")
    parser.add_argument("--dataset", metavar="ID", help="default: the one that it was learnt from, or the newest")
    return run_job(_judge, parser.parse_args(arguments))


def _judge(options: argparse.Namespace) -> None:
    workspace = configured_workspace(options)
    with Console(stderr=True).status(f"judging {options.release}"):
        report = judge_release(workspace, options.release, options.against, dataset=options.dataset)
    if options.json:
        print_result(_line(report))
        return
    sys.stdout.write(f"{report['verdict']} ({report['code']}): {report['reason']}\n")
    sys.stdout.write(f"report: {workspace.store.uri}/{report['name']}/report.html\n")


if __name__ == "__main__":
    sys.exit(main())
