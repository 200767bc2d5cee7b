"""`kaizen rollout ...`: who gets which release, over the same HTTP API that everybody uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from kaizen.commands.client import Client, find_endpoint
from kaizen.commands.ledger import when
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import Terminal, print_json

app = typer.Typer(help="Try a release on users, promote it, take it back.", no_args_is_help=True)

Mode = Literal["shadow", "canary", "ab", "interleave"]
ReleaseArgument = Annotated[str, typer.Argument(help="Id of a release; see `kaizen releases`.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
VersionOption = Annotated[
    int | None, typer.Option("--expect", help="Version of the rollout that you decided on; default: as it is now.")
]
MODE_HELP = (
    "shadow: unseen. canary, ab: a share of the users. interleave: every other hit, for a share of the searches."
)


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show who gets what."""
    with _client(config) as client:
        _tell(client.get("/v1/rollout"), as_json)


@app.command()
def begin(
    challenger: ReleaseArgument,
    mode: Annotated[Mode, typer.Option(help=MODE_HELP)] = "shadow",
    weight: Annotated[float, typer.Option(help="Share, above 0 and up to 1.")] = 1.0,
    reason: ReasonOption = "",
    expect: VersionOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a release on trial beside the stable one."""
    body = {"action": "begin", "challenger": challenger, "mode": mode, "weight": weight, "reason": reason}
    _change(body, expect, config, as_json)


@app.command()
def adjust(
    mode: Annotated[Mode | None, typer.Option(help=f"{MODE_HELP} Default: as it is.")] = None,
    weight: Annotated[float | None, typer.Option(help="Share, above 0 and up to 1. Default: as it is.")] = None,
    reason: ReasonOption = "",
    expect: VersionOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the challenger in another way or on another share."""
    _change({"action": "adjust", "mode": mode, "weight": weight, "reason": reason}, expect, config, as_json)


@app.command()
def stop(
    reason: ReasonOption = "", expect: VersionOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Take the challenger away; everybody gets the stable release."""
    _change({"action": "stop", "reason": reason}, expect, config, as_json)


@app.command()
def retire(
    reason: ReasonOption = "", expect: VersionOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Keep the previous release no longer warm: it frees its memory, and a rollback is no longer possible."""
    _change({"action": "retire", "reason": reason}, expect, config, as_json)


@app.command()
def promote(
    release: ReleaseArgument,
    reason: ReasonOption = "",
    expect: VersionOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a release stable. The one before is kept warm."""
    with _client(config) as client:
        _tell(client.post(f"/v1/releases/{release}:promote", {"version": expect, "reason": reason}), as_json)


@app.command()
def rollback(
    reason: ReasonOption = "", expect: VersionOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Go back to the previous release, at once."""
    with _client(config) as client:
        _tell(client.post("/v1/rollback", {"version": expect, "reason": reason}), as_json)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most that are shown.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was changed, by whom and why, the newest first."""
    with _client(config) as client:
        found = client.get(f"/v1/rollout/history?limit={limit}")
    if as_json:
        print_json(found)
        return
    rows = [[d["seq"], when(d["at"]), d["kind"], d["release"], d["by"], d["reason"]] for d in found["decisions"]]
    Terminal().table(["", "when", "what", "release", "by", "why"], rows)


def _client(config: ConfigOption) -> Client:
    return Client(find_endpoint(configuration(config).settings))


def _change(body: Mapping[str, Any], expect: int | None, config: ConfigOption, as_json: bool) -> None:
    """Send a change of the version that is expected, or else of the present one."""
    with _client(config) as client:
        version = client.get("/v1/rollout")["version"] if expect is None else expect
        _tell(client.post("/v1/rollout", {**body, "version": version}), as_json)


def _tell(state: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    terminal = Terminal()
    rows = [
        [role, state[role], state["standing"].get(state[role], "")]
        for role in ("stable", "challenger", "previous")
        if state[role]
    ]
    terminal.table(["", "release", "on one replica"], rows)
    trial = f", {state['mode']} on {state['weight']:.0%}" if state["challenger"] else ""
    terminal.line(f"version {state['version']}{trial}, since {when(state['at'])}", style="dim")
