"""`kaizen ingest`, `kaizen evaluate` and `kaizen collect`: the jobs of the same name, with the same options."""

from __future__ import annotations

import os
import sys

import typer

# The job has its own --help, so that its options are described in one place.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}


def ingest(context: typer.Context) -> None:
    """Take in folders, files and globs of documents. `kaizen ingest --help` lists the options."""
    become("jobs.ingest", context.args)


def evaluate(context: typer.Context) -> None:
    """Measure retrieval on a BEIR folder. `kaizen evaluate --help` lists the options."""
    become("jobs.evaluate", context.args)


def collect(context: typer.Context) -> None:
    """Take away what nobody needs any more. `kaizen collect --help` lists the options."""
    become("jobs.collect", context.args)


def become(module: str, arguments: list[str]) -> None:
    """Replace this process by a job: its output, its signals and its exit code are then its own.

    -P: a folder called `jobs` in the current directory is not ours.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])  # noqa: S606 (our own module, no shell)
