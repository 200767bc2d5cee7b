"""`kaizen down` and `kaizen status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import typer

from kaizen.commands.client import Client, find_endpoint
from kaizen.commands.half_started import half_started, remove_half_started
from kaizen.commands.options import ConfigOption, JsonOption, configuration
from kaizen.commands.output import EXIT_TRANSIENT, Terminal, print_json
from kaizen.commands.processes import end_tree
from kaizen.errors import KaizenError
from kaizen.run_state import RunState, head_process, read_run_state, remove_run_state

NOTHING = "none"


def down(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End exactly what `kaizen up` started in this workspace."""
    directory = configuration(config).settings.workspace.directory
    state = read_run_state(directory)
    with nullcontext() if as_json else Terminal().spinner("stopping: requests in flight finish first"):
        ended = [end_tree(head) for head in _heads(directory, state)]
    if state:
        remove_run_state(directory, state)
    remove_half_started(directory)
    stopped = [name for each in ended for name in each.stopped]
    killed = [name for each in ended for name in each.killed]
    if as_json:
        print_json({"was_running": bool(ended), "stopped": stopped, "killed": killed})
        return
    _tell(Terminal(), was_running=bool(ended), stopped=stopped, killed=killed)


def _heads(directory: Path, state: RunState | None) -> Iterator[psutil.Process]:
    """Yield two where an `up` was killed and another one followed; each is looked for when the one before has ended."""
    if head := head_process(state) if state else None:
        yield head
    if head := half_started(directory):
        yield head


def _tell(terminal: Terminal, *, was_running: bool, stopped: list[str], killed: list[str]) -> None:
    if not was_running:
        terminal.line("Nothing was running.")
        return
    terminal.line(f"Stopped {len(stopped)} processes.", style="bold")
    if killed:
        terminal.line(f"Killed, because they did not stop: {', '.join(killed)}", style="yellow")


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what runs: readiness, releases, shards, ledger. Exit code 75 when it is not ready."""
    settings = configuration(config).settings
    try:
        with Client(find_endpoint(settings)) as client:
            code, readiness = client.probe("/readyz")
            report = {"ready": code == 200 and readiness is not None, "readiness": readiness, **_details(client)}
    except KaizenError as error:
        report = {"ready": False, "error": error.message, "advice": error.advice}
    if as_json:
        print_json(report)
    else:
        _show(Terminal(), report)
    if not report["ready"]:
        raise typer.Exit(EXIT_TRANSIENT)


def _details(client: Client) -> dict[str, Any]:
    """What needs a key with the admin scope; a lesser key still learns whether the service is ready."""
    try:
        return {"status": client.get("/v1/status"), "releases": client.get("/v1/releases")}
    except KaizenError as error:
        return {"error": error.message, "advice": error.advice}


def _show(terminal: Terminal, report: Mapping[str, Any]) -> None:
    ready = report["ready"]
    terminal.line("ready" if ready else "not ready", style="bold green" if ready else "bold red")
    if "error" in report:
        terminal.line(report["error"])
        terminal.line(report["advice"])
    _show_object(terminal, "service", report.get("status") or report.get("readiness") or {})
    releases = report.get("releases", {"stable": None, "releases": []})
    rows = {release["id"]: {"stable": release["id"] == releases["stable"]} for release in releases["releases"]}
    _show_rows(terminal, "releases", rows)


def _show_object(terminal: Terminal, title: str, content: Mapping[str, Any]) -> None:
    """Show plain values as pairs, an object of objects as a table, anything else below its own title."""
    columns = {frozenset(value) if isinstance(value, dict) else None for value in content.values()}
    if len(columns) == 1 and None not in columns:
        _show_rows(terminal, title, content)
        return
    plain = {name: _words(value) for name, value in content.items() if not isinstance(value, dict)}
    if plain:
        terminal.pairs(plain, title=title)
    for name, value in content.items():
        if isinstance(value, dict):
            _show_object(terminal, name, value)


def _show_rows(terminal: Terminal, title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Show objects of the same shape, lying or standing, whichever needs fewer columns; what none of them has, not."""
    names = list(next(iter(rows.values()), {}))
    cells = {name: [_words(row[name]) for row in rows.values()] for name in names}
    told = {name: column for name, column in cells.items() if set(column) != {NOTHING}}
    if len(rows) < len(told):
        terminal.table(["", *rows], [[name, *column] for name, column in told.items()], title=title)
    elif rows:
        terminal.table(["", *told], zip(rows, *told.values(), strict=True), title=title)


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NOTHING
    return NOTHING if value is None or value == "" else str(value)
