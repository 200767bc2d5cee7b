"""Measure whether the traffic has changed since a release's reference was taken; see `kaizen.monitoring.drift`.

    python -m jobs.measure_drift [--release RELEASE] [--config FILE] [--json]
        [--after SEQ --until SEQ]    impressions of the reference, in (after, until]
        [--since SEQ --end SEQ]      impressions of the recent window, in (since, end]

Without bounds the newest impressions, 2,000 at most, are parted: the older half is the reference, the other half is the
window. A reference is embedded once and kept as `monitoring/reference-RELEASE-AFTER-UNTIL`. Searches that may yet be
clicked on (the last two minutes at most) are left out of the rate of clicks; older ones give the same rate whenever
they are measured.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from kaizen.errors import NotFound
from kaizen.job import configured_workspace, job_parser, print_result, run_job
from kaizen.monitoring.drift import REFERENCE_QUERIES, WINDOW_QUERIES, Report, compare, sketch
from kaizen.monitoring.reference import Reference, read_reference, reference_name, write_reference
from kaizen.monitoring.window import Window, window_of
from kaizen.offline import QueryEmbedder, open_query_embedder
from kaizen.records import Feedback, Impression
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.pages import rows_between
from kaizen.workspace import Workspace

BATCH = 16
HALF_ROWS = 1000  # at most, of the reference and of the window when no bounds are given


def measure_drift(workspace: Workspace, release: str, reference: tuple[int, int], recent: tuple[int, int]) -> Report:
    """Compare the traffic of `release` in two ranges of `seq`, each (after, up to). Raises KaizenError."""
    embed = open_query_embedder(workspace, workspace.ledger.releases.get(release))
    base = _reference(workspace, release, reference, embed)
    window = _window(workspace.ledger, release, recent, WINDOW_QUERIES, base.window.patience_s)
    return compare(base.window, window, (base.sketch, sketch(_embedded(embed, window))))


def _reference(workspace: Workspace, release: str, bounds: tuple[int, int], embed: QueryEmbedder) -> Reference:
    """The stored reference, or a new one; one that ends elsewhere is another."""
    name = reference_name(release, *bounds)
    stored = read_reference(workspace.store, name)
    if stored is not None:
        return stored
    window = _window(workspace.ledger, release, bounds, REFERENCE_QUERIES)
    made = Reference(release, window, sketch(_embedded(embed, window)))
    write_reference(workspace.store, name, made)
    return made


def _window(
    ledger: Ledger, release: str, bounds: tuple[int, int], queries: int, patience_s: float | None = None
) -> Window:
    impressions = [(seq, one) for seq, one in rows_between(ledger.impressions.after, *bounds) if one.release == release]
    if not impressions:
        raise NotFound(
            f"{release} answered nothing between the impressions {bounds[0]} and {bounds[1]}.",
            advice="Name bounds between which it was in service.",
        )
    now = time.time()  # before the feedback is read: what is old enough then has all of its clicks
    given = _feedback_on(ledger, impressions)
    return window_of(impressions, given, queries=queries, now=now, patience_s=patience_s)


def _feedback_on(ledger: Ledger, impressions: list[tuple[int, Impression]]) -> list[Feedback]:
    return [one for _, shown in impressions for one in ledger.feedback.of_impression(shown.tenant, shown.id)]


def _embedded(embed: QueryEmbedder, window: Window) -> np.ndarray:
    """(queries, dim) float32, in batches of like length."""
    order = sorted(range(len(window.queries)), key=lambda number: len(window.queries[number]))
    parts = [
        embed([window.queries[number] for number in order[start : start + BATCH]])
        for start in range(0, len(order), BATCH)
    ]
    vectors: np.ndarray = np.concatenate(parts)[np.argsort(order)]
    return vectors


def _bounds(options: argparse.Namespace, ledger: Ledger) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of the reference and of the window: what the options name, else halves of the newest impressions.

    Raises NotFound: there are no two impressions.
    """
    end = ledger.impressions.end() if options.end is None else options.end
    if options.since is None and end < 2:
        raise NotFound(
            f"Up to the impression {end} there is nothing to compare.", advice="Let people search, then measure again."
        )
    since = end - min(HALF_ROWS, end // 2) if options.since is None else options.since
    until = since if options.until is None else options.until
    after = max(0, until - HALF_ROWS) if options.after is None else options.after
    return (after, until), (since, end)


def _parser() -> argparse.ArgumentParser:
    parser = job_parser("jobs.measure_drift", __doc__)
    parser.add_argument("--release", default="", help="Default: the stable one.")
    for name in ("--after", "--until", "--since", "--end"):
        parser.add_argument(name, type=int)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    return run_job(_measure, _parser().parse_args(arguments))


def _measure(options: argparse.Namespace) -> None:
    workspace = configured_workspace(options)
    release = workspace.release(options.release).id
    report = measure_drift(workspace, release, *_bounds(options, workspace.ledger))
    if options.json:
        print_result(report.record())
    else:
        sys.stdout.write(_words(report))


def _words(report: Report) -> str:
    """For people: one line a signal."""
    lines = [f"{'CHANGED ' if one.alarm else 'as ever '} {one.words}" for one in report.readings]
    return "\n".join([*(lines or ["There is too little traffic to tell."]), ""])


if __name__ == "__main__":
    sys.exit(main())
