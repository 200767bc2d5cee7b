"""`kaizen documents put|get|delete`: single documents over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kaizen.commands.client import Client, document_path, find_endpoint
from kaizen.commands.options import ConfigOption, JsonOption, configuration, parse_json
from kaizen.commands.output import Terminal, print_json
from kaizen.errors import InvalidInput

app = typer.Typer(help="Single documents: put, get, delete.", no_args_is_help=True)

DocumentArgument = Annotated[str, typer.Argument(help="Id of the document.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return when searches see the change.")]


@app.command()
def put(
    document_id: DocumentArgument,
    file: Annotated[str, typer.Argument(help="UTF-8 text file; - is standard input.")] = "-",
    title: Annotated[str, typer.Option(help="Title; default: the id.")] = "",
    metadata: Annotated[str, typer.Option(help="JSON object.")] = "",
    group: Annotated[
        list[str] | None, typer.Option(help="Group that may see it; repeat for more; none: everybody.")
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put in a document, or replace it."""
    body = {
        "title": title or document_id,
        "text": _read(file),
        "metadata": parse_json(metadata, "--metadata") if metadata else {},
        "groups": group or [],
    }
    _send("PUT", document_id, body, wait, config, as_json)


@app.command()
def get(document_id: DocumentArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a document."""
    with Client(find_endpoint(configuration(config).settings)) as client:
        document = client.get(document_path(document_id))
    if as_json:
        print_json(document)
        return
    terminal = Terminal()
    terminal.pairs({name: value for name, value in document.items() if name != "text"}, title=document["title"])
    terminal.line(document["text"])


@app.command()
def delete(
    document_id: DocumentArgument, wait: WaitOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Delete a document."""
    _send("DELETE", document_id, None, wait, config, as_json)


def _send(method: str, document_id: str, body: object, wait: bool, config: Path | None, as_json: bool) -> None:
    params = {"wait_for": "searchable"} if wait else None
    with Client(find_endpoint(configuration(config).settings)) as client:
        answer = client.send(method, document_path(document_id), body, params)
    if as_json:
        print_json(answer)
    else:
        Terminal().line(f"Durable at seq {answer['seq']}.", style="green")
        if wait and not answer["searchable"]:
            trouble = "may show it still" if method == "DELETE" else "do not see it yet"
            Terminal().line(f"Searches {trouble}: `kaizen quarantine list` and `kaizen status` may say why.")


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as UTF-8 text: {error}.", advice="Use `kaizen ingest`.") from error
