"""Make a data set of the impressions and the feedback in the ledger.

    python -m jobs.curate [--since 2026-11-01] [--after-impression SEQ] [--until-impression SEQ --until-feedback SEQ]
        [--config FILE] [--json]

Reads the ledger and the sealed index of the stable release; asks nothing of the service. The same ledger gives the
same data set again. Prints a summary, or with --json one line: {"dataset": id, "artifact": .., "examples": n,
"queries": n, "relevant": n, "demonstrations": n, "questions": n, "feedback": n, "left_out": {..}, "seconds": ..}.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import track
from rich.table import Table

from kaizen.errors import InvalidInput, NotFound
from kaizen.ids import chunk_id
from kaizen.job import configured_workspace, job_parser, print_result, run_job
from kaizen.learning.curation import ChunkText, Curation, Place
from kaizen.learning.dataset import DatasetContent, write_dataset
from kaizen.offline import OfflineIndex
from kaizen.records import Dataset, Release
from kaizen.release import cut_alike
from kaizen.storage.ledger.pages import rows_between
from kaizen.workspace import Workspace


def curate(
    workspace: Workspace,
    *,
    since: float = 0.0,
    after: int = 0,
    until: tuple[int, int] | None = None,
    quiet: bool = True,
) -> tuple[Dataset, DatasetContent]:
    """Make, store and record a data set.

    Args:
        since: leave out what was shown before this moment (seconds since the epoch).
        after: `seq` of the last impression that is not read any more, nor what was said of those before it.
        until: `seq` of the last impression and of the last feedback that are read, so that a run at another time
            gives the same; None: all that there is.

    Raises:
        NotFound: nothing is in service, or there is no feedback.
        Unavailable: a part of the index is not sealed yet.
    """
    ledger, release = workspace.ledger, workspace.release()
    # Impressions after this point may yet get feedback that is not read: they are the next data set's.
    end, feedback_end = until or (ledger.impressions.end(), None)
    curation = Curation(
        rows_between(ledger.feedback.after, ledger.feedback.start(after) if after else 0, feedback_end),
        trusted=ledger.judgements.all(),
        groups={key.id: key.groups for key in ledger.keys.list()},
        releases=cut_alike(release, ledger.releases.list()),
    )
    shown = track(
        rows_between(ledger.impressions.after, after, end),
        total=max(0, end - after),
        console=Console(stderr=True),
        disable=quiet,
    )
    for seq, impression in shown:
        if impression.at >= since:
            curation.add(seq, impression)
    content = curation.finish(_texts_of(workspace, release))
    if not content.examples.num_rows and not content.demonstrations.num_rows:
        raise NotFound("No feedback can be learnt from yet.", advice="Send feedback, or see `kaizen simulate`.")
    artifact = write_dataset(workspace.store, content)
    record = {**content.record, "id": content.id, **_sizes(content)}
    ledger.datasets.record(Dataset(id=content.id, at=time.time(), artifact=artifact, record=record))
    return ledger.datasets.get(content.id), content


def _texts_of(workspace: Workspace, release: Release) -> Callable[[Sequence[Place]], dict[Place, ChunkText]]:
    """Looks chunks up in the sealed index of a release."""
    index = OfflineIndex.open_whole(workspace, release)
    rows = index.rows(["tenant", "document_id", "ordinal", "title", "text"])

    def texts(places: Sequence[Place]) -> dict[Place, ChunkText]:
        documents = pa.array(sorted({chunk.rpartition("#")[0] for _, chunk in places}), pa.string())
        wanted = set(places)
        found = {}
        for row in rows.filter(pc.is_in(rows["document_id"], value_set=documents)).to_pylist():
            place = (row["tenant"], chunk_id(row["document_id"], row["ordinal"]))
            if place in wanted:
                found[place] = ChunkText(row["title"], row["text"])
        return found

    return texts


def _sizes(content: DatasetContent) -> dict[str, int]:
    return {
        "examples": content.examples.num_rows,
        "queries": len(pc.unique(content.examples["query_id"])),
        "relevant": content.record["relevant"],
        "demonstrations": content.demonstrations.num_rows,
        "questions": len(_questions(content.demonstrations)),
        "feedback_used": content.feedback_ids.num_rows,
    }


def _questions(demonstrations: pa.Table) -> set[tuple[str, str]]:
    """What answers can be judged on: the held-out queries of demonstrations."""
    rows = demonstrations.filter(pc.equal(demonstrations["split"], "held_out")).select(["tenant", "query_id"])
    return set(zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True))


def _since(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"--since {text!r} is no date.", advice="Write it as 2026-11-01 or 2026-11-01T08:00."
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print(summary: dict[str, Any]) -> None:
    table = Table(title=f"data set {summary['dataset']}", show_header=False)
    for name, value in {**summary, **summary["left_out"]}.items():
        if not isinstance(value, dict):
            table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = job_parser("jobs.curate", __doc__)
    parser.add_argument("--since", metavar="DATE", help="leave out what was shown before; UTC unless it says otherwise")
    parser.add_argument("--after-impression", type=int, metavar="SEQ", default=0, help="the first is the one after it")
    parser.add_argument("--until-impression", type=int, metavar="SEQ", help="the last that is read; default: all")
    parser.add_argument("--until-feedback", type=int, metavar="SEQ", help="with --until-impression: the last feedback")
    options = parser.parse_args(arguments)
    if (options.until_impression is None) != (options.until_feedback is None):
        parser.error("--until-impression and --until-feedback go together")
    return run_job(_curate, options)


def _curate(options: argparse.Namespace) -> None:
    until = None if options.until_impression is None else (options.until_impression, options.until_feedback)
    since = _since(options.since) if options.since else 0.0
    started = time.monotonic()
    workspace = configured_workspace(options)
    with workspace.ledger:
        dataset, content = curate(
            workspace, since=since, after=options.after_impression, until=until, quiet=options.json
        )
    summary = {"dataset": dataset.id, "artifact": dataset.artifact, **_sizes(content)}
    summary |= {"left_out": content.record["left_out"], "seconds": round(time.monotonic() - started, 3)}
    if options.json:
        print_result(summary)
    else:
        _print(summary)


if __name__ == "__main__":
    sys.exit(main())
