"""`kaizen keys create|list|revoke`: API keys, directly in the ledger, so that no key is needed to make the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaizen.commands.ledger import opened, when
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json
from kaizen.errors import InvalidInput
from kaizen.records import SCOPES, Scope

if TYPE_CHECKING:
    from kaizen.storage.ledger import KeyRecord

app = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose or what for; shown in the list.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"{', '.join(SCOPES)}; repeat for more.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group that the key is in; repeat for more.")] = None,
    tenant: Annotated[str, typer.Option(help="Default: the tenant of the configuration.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key (scopes search and feedback unless told) and print its secret, this once."""
    from kaizen.security.keys import new_key

    settings = configuration(config).settings
    secret, record = new_key(
        tenant=tenant or settings.workspace.tenant, name=name, scopes=_scopes(scope), groups=group or ()
    )
    with opened(settings, create=True) as ledger:
        ledger.keys.add(record)
    if as_json:
        print_json({**_shown(record), "secret": secret.reveal()})
        return
    typer.echo(secret.reveal())
    typer.echo("This is shown once; only its hash is kept.", err=True)


@app.command("list")
def list_keys(
    tenant: Annotated[str, typer.Option(help="Only keys of this tenant.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys, revoked ones too; never their secrets."""
    with opened(configuration(config).settings) as ledger:
        found = [_shown(record) for record in ledger.keys.list(tenant or None)]
    if as_json:
        print_json({"keys": found})
        return
    rows = [
        [
            key["id"],
            key["name"],
            key["tenant"],
            ", ".join(key["groups"]),
            ", ".join(key["scopes"]),
            when(key["created"]),
            when(key["revoked"]),
        ]
        for key in found
    ]
    Terminal().table(["id", "name", "tenant", "groups", "scopes", "created", "revoked"], rows)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id from the list.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key for good. It stops working within a second or two."""
    with opened(configuration(config).settings) as ledger:
        ledger.keys.revoke(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        Terminal().line(f"Revoked {key_id}.", style="green")


def _scopes(given: list[str] | None) -> list[Scope]:
    scopes: list[Scope] = [scope for scope in SCOPES if scope in (given or ["search", "feedback"])]
    if unknown := sorted(set(given or []) - set(SCOPES)):
        raise InvalidInput(f"There is no scope {unknown[0]!r}.", advice=f"The scopes are {', '.join(SCOPES)}.")
    return scopes


def _shown(record: KeyRecord) -> dict[str, Any]:
    names = ("id", "name", "tenant", "groups", "scopes", "created", "revoked")
    return {name: getattr(record, name) for name in names}
