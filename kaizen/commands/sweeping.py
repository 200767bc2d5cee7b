"""`kaizen sweep`: the module `tune.sweep`, with the same options."""

from __future__ import annotations

import typer

from kaizen.commands.jobs import become


def sweep(context: typer.Context) -> None:
    """Try other settings of a release, or of its training. `kaizen sweep --help` lists the options."""
    become("tune.sweep", context.args)
