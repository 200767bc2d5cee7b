"""The `kaizen` command. It starts processes and speaks HTTP; it never joins the cluster itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer

from kaizen.commands import (
    configuration,
    documents,
    jobs,
    judging,
    keys,
    learning,
    ledger,
    machine,
    queries,
    rollout,
    service,
    simulate,
    starting,
    steward,
    sweeping,
)
from kaizen.commands.output import told
from kaizen.errors import KaizenError

COMMANDS: tuple[Callable[..., None], ...] = (
    starting.up,
    service.down,
    service.status,
    queries.search,
    queries.ask,
    queries.feedback,
    ledger.releases,
    judging.candidates,
    configuration.config,
    machine.doctor,
)


def build() -> typer.Typer:
    """Return the application with all its commands."""
    app = typer.Typer(
        help="Search and grounded answers over your own documents, on your own Ray cluster.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for command in COMMANDS:
        app.command()(command)
    app.command("simulate")(simulate.simulate_service)
    for job in (jobs.ingest, jobs.evaluate, jobs.collect, learning.curate, judging.judge, sweeping.sweep):
        app.command(context_settings=jobs.PASS_ON)(job)
    app.add_typer(documents.app, name="documents")
    app.add_typer(ledger.quarantine, name="quarantine")
    app.add_typer(keys.app, name="keys")
    app.add_typer(judging.trusted, name="trusted")
    app.add_typer(judging.decisions, name="decisions")
    app.add_typer(rollout.app, name="rollout")
    app.add_typer(steward.app, name="steward")
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Exits with 0, 1 (will fail again), 2 (wrong usage) or 75 (may succeed later)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build()(given)
    except (KaizenError, OSError) as error:
        raise SystemExit(told(error, as_json="--json" in given)) from error


if __name__ == "__main__":
    main()
