"""`kaizen curate`: the job of the same name, with the same options."""

from __future__ import annotations

import typer

from kaizen.commands.jobs import become


def curate(context: typer.Context) -> None:
    """Make a data set of impressions and feedback. `kaizen curate --help` lists the options."""
    become("jobs.curate", context.args)
