"""Take away what nobody needs any more: indices of retired releases, and what kills left behind.

    python -m jobs.collect [--dry-run] [--config FILE] [--json]

The service does the same every `collect.every_hours`. Nothing goes at first sight: it is remembered, and goes when it
was of no use at every look for `collect.age_hours`. --dry-run says what would go, and changes nothing. With --json one
line: {"gone": [..], "waiting": [..], "freed_bytes": n, "idempotency_keys": n, "checkpoints": [..], "seconds": ..}.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict

from rich.console import Console

from kaizen.collect import Collected, collect
from kaizen.job import configured_workspace, job_parser, print_result, run_job


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
        sys.stdout.write(_words(collected, workspace.settings.collect.age_hours, dry_run=options.dry_run))


def _words(collected: Collected, age_hours: float, *, dry_run: bool) -> str:
    lines = [
        *(f"{'would go' if dry_run else 'gone'}: {name}" for name in (*collected.gone, *collected.checkpoints)),
        *(f"goes when it was of no use for {age_hours:g} hours: {name}" for name in collected.waiting),
        f"{collected.freed_bytes / 2**20:.1f} MiB, {collected.idempotency_keys} idempotency keys",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
