"""Take away what nobody needs any more: indices and models of releases, data sets, logs, what kills left behind, and
what documents were before they were replaced or deleted.

    python -m jobs.collect [--dry-run] [--config FILE] [--json]

The service does the same every `collect.every_hours`. Nothing goes at first sight: it is remembered, and goes when it
was of no use at every look for `collect.age_hours`, a batch of documents for `collect.batch_hours`. --dry-run says what
would go, and changes nothing. With --json one line: {"gone": [..], "waiting": [..], "rewritten": [..], "freed_bytes":
n, "texts": n, "texts_waiting": n, "idempotency_keys": n, "checkpoints": [..], "logs": [..], "seconds": ..}.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kaizen.collect import Collected, collect
from kaizen.job import configured_workspace, job_parser, print_result, run_job

INDICES, PARTS = "indices", "parts of shards"
KINDS = {"batches": "batches", "models": "models", "datasets": "data sets", "monitoring": "references of drift"}
RUNS, LOGS, KEYS = "runs of training", "logs of the steward's steps", "idempotency keys"
TEXTS = "texts that were replaced or deleted"


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = job_parser("jobs.collect", __doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    return run_job(_collect, parser.parse_args(arguments))


def _collect(options: argparse.Namespace) -> None:
    started = time.monotonic()
    workspace = configured_workspace(options)
    with workspace.ledger, Console(stderr=True).status("looking for what nobody needs"):
        collected = collect(workspace, time.time(), dry_run=options.dry_run)
    if options.json:
        print_result({**asdict(collected), "seconds": round(time.monotonic() - started, 3)})
    else:
        _show(collected, dry_run=options.dry_run)


def _show(collected: Collected, *, dry_run: bool) -> None:
    going, waiting = Counter(map(_kind, collected.gone)), Counter(map(_kind, collected.waiting))
    going |= {RUNS: len(collected.checkpoints), LOGS: len(collected.logs), KEYS: collected.idempotency_keys}
    going[TEXTS], waiting[TEXTS] = collected.texts, collected.texts_waiting
    table = Table("of no use", "would go" if dry_run else "gone", "goes later", box=SIMPLE_HEAD)
    for kind in (INDICES, PARTS, *KINDS.values(), TEXTS, RUNS, LOGS, KEYS):
        table.add_row(kind, str(going[kind]), str(waiting[kind]))
    console = Console()
    console.print(table)
    console.print(f"{collected.freed_bytes / 2**20:.1f} MiB {'would be' if dry_run else 'are'} free; names: --json")


def _kind(name: str) -> str:
    folder, _, rest = name.partition("/")
    return KINDS.get(folder) or (PARTS if "/" in rest else INDICES)


if __name__ == "__main__":
    sys.exit(main())
