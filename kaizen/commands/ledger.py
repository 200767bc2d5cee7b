"""`kaizen releases` and `kaizen quarantine list`: read from the ledger, whether or not the service runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json
from kaizen.config import Settings
from kaizen.errors import NotFound

if TYPE_CHECKING:
    from kaizen.storage.ledger import Ledger

quarantine = typer.Typer(help="Documents that could not be taken in, and why.", no_args_is_help=True)


@contextmanager
def opened(settings: Settings, *, create: bool = False) -> Iterator[Ledger]:
    """Open the ledger of `settings`. Unless `create`, NotFound when the workspace has none yet."""
    directory = settings.workspace.directory
    if not create and not settings.ledger.url and not (directory / "ledger.sqlite").exists():
        raise NotFound(
            f"There is no ledger in {directory}.", advice="Run `kaizen up` first, or name the right --config."
        )
    # Imported here because SQLAlchemy would slow down every other command.
    from kaizen.storage.ledger import Ledger

    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with Ledger.open(settings.ledger, settings.ledger_url) as ledger:
        yield ledger


def when(seconds: float | None) -> str:
    """Return a time of the ledger for people: UTC, to the second; empty for None."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def releases(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the releases, the newest first, and which part each has in the rollout."""
    with opened(configuration(config).settings) as ledger:
        state, found = ledger.rollout.state(), ledger.releases.list()
    if as_json:
        print_json({"stable": state.stable, "releases": [asdict(release) for release in found]})
        return
    roles = {state.previous: "previous", state.challenger: "challenger", state.stable: "stable"}
    rows = [
        [
            release.id,
            roles.get(release.id, ""),
            release.parent or "",
            when(release.at),
            ", ".join(f"{name} {str(part.get('fingerprint', ''))[:8]}" for name, part in release.parts.items()),
        ]
        for release in found
    ]
    Terminal().table(["release", "", "learnt from", "made", "parts"], rows)


@quarantine.command("list")
def list_quarantined(
    tenant: Annotated[str, typer.Option(help="Default: the tenant of the configuration.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Most that are shown.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the documents in quarantine. They leave it when an ingest takes them in, or no longer meets them."""
    settings = configuration(config).settings
    tenant = tenant or settings.workspace.tenant
    with opened(settings) as ledger:
        total, found = ledger.quarantine.count(tenant), ledger.quarantine.list(tenant, limit)
    if as_json:
        print_json({"total": total, "quarantined": [asdict(item) for item in found]})
        return
    terminal = Terminal()
    rows = [[item.document_id, item.source, item.reason, when(item.at)] for item in found]
    terminal.table(["document", "source", "reason", "since"], rows)
    terminal.line(f"{total} in quarantine, {len(found)} shown.")
