"""`kaizen search`, `kaizen ask` and `kaizen feedback`: the same HTTP API that everybody uses."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import typer

from kaizen.commands.client import Client, find_endpoint
from kaizen.commands.options import ConfigOption, JsonOption, configuration, parse_json
from kaizen.commands.output import Terminal, print_json
from kaizen.commands.sse import Event
from kaizen.errors import InvalidInput, Unavailable
from kaizen.ids import fingerprint

SNIPPET_CHARACTERS = 280
THUMBS = {"up": 1, "down": -1}

FilterOption = Annotated[
    str, typer.Option("--filter", help='Metadata filter as JSON: \'{"field": "year", "range": {"gte": 2020}}\'.')
]
CountOption = Annotated[int | None, typer.Option("-k", help="How many chunks.")]


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: CountOption = None,
    mode: Annotated[Literal["hybrid", "dense", "lexical"] | None, typer.Option(help="How to match.")] = None,
    filter_json: FilterOption = "",
    explain: Annotated[bool, typer.Option("--explain", help="Show how each score came about.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the documents."""
    body = _body(query=query, k=k, mode=mode, explain=explain or None, filter=_filter(filter_json))
    with Client(find_endpoint(configuration(config).settings)) as client:
        answer = client.post("/v1/search", body)
    if as_json:
        print_json(answer)
        return
    terminal = Terminal()
    for hit in answer["hits"]:
        _show_hit(terminal, hit)
    if not answer["hits"]:
        terminal.line("Nothing found.")
    _show_envelope(terminal, answer)


def ask(
    question: Annotated[str, typer.Argument(help="What to answer from the documents.")],
    k: CountOption = None,
    filter_json: FilterOption = "",
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Show the answer as it is written; default on a terminal."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the documents, with citations."""
    streamed = not as_json and (sys.stdout.isatty() if stream is None else stream)
    body = _body(question=question, k=k, filter=_filter(filter_json), stream=streamed)
    terminal = Terminal()
    with Client(find_endpoint(configuration(config).settings)) as client:
        answer = _show_stream(terminal, client, body) if streamed else client.post("/v1/answer", body)
    if as_json:
        print_json(answer)
        return
    if not streamed:
        terminal.line(answer["answer"])
    _show_citations(terminal, answer["citations"])
    _show_envelope(terminal, answer)


def feedback(
    impression_id: Annotated[str, typer.Argument(help="Printed under every search and answer.")],
    click: Annotated[str, typer.Option(help="Id of the chunk that was useful.")] = "",
    thumb: Annotated[Literal["up", "down"] | None, typer.Option(help="Good or bad.")] = None,
    rating: Annotated[int | None, typer.Option(min=1, max=5, help="1 (bad) to 5 (good).")] = None,
    comment: Annotated[str, typer.Option(help="What you think of it.")] = "",
    correction: Annotated[str, typer.Option(help="What the answer should have been.")] = "",
    chunk: Annotated[str, typer.Option(help="Id of the chunk that is judged; default: the whole answer.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge what was shown. Exactly one of --click, --thumb, --rating, --comment, --correction."""
    judgements = [
        {"kind": "click", "chunk_id": click} if click else None,
        {"kind": "thumb", "value": THUMBS[thumb]} if thumb else None,
        {"kind": "rating", "value": rating} if rating is not None else None,
        {"kind": "comment", "text": comment} if comment else None,
        {"kind": "correction", "text": correction} if correction else None,
    ]
    given = [judgement for judgement in judgements if judgement]
    if len(given) != 1:
        raise InvalidInput(
            f"{len(given)} judgements were given.",
            advice="Give exactly one of --click, --thumb, --rating, --comment, --correction.",
        )
    body = {"impression_id": impression_id, **({"chunk_id": chunk} if chunk else {}), **given[0]}
    # The same judgement sent twice, by a retry or by habit, is one judgement.
    body["idempotency_key"] = fingerprint(body)[:32]
    with Client(find_endpoint(configuration(config).settings)) as client:
        answer = client.post("/v1/feedback", body)
    if as_json:
        print_json(answer)
    else:
        Terminal().line("Thank you: it is recorded.", style="green")


# ---------------------------------------------------------------------------------------------- requests


def _body(**given: object) -> dict[str, Any]:
    """What was given; the rest is left to the server's defaults."""
    return {name: value for name, value in given.items() if value is not None}


def _filter(text: str) -> dict[str, Any] | None:
    return parse_json(text, "--filter") if text else None


# ---------------------------------------------------------------------------------------------- what is shown


def _show_hit(terminal: Terminal, hit: Mapping[str, Any]) -> None:
    terminal.line(f"{hit['position']}. {hit['title'] or hit['document_id']}", style="bold")
    terminal.line(f"   {hit['chunk_id']}  score {hit['score']:.4f}", style="dim")
    terminal.line("   " + _snippet(hit["text"]))
    if hit.get("explain"):
        terminal.line("   " + json.dumps(hit["explain"]), style="cyan")


def _snippet(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SNIPPET_CHARACTERS else flat[: SNIPPET_CHARACTERS - 1] + "…"


def _show_stream(terminal: Terminal, client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    """Show the pieces as they come and return the final answer."""
    shown = ""
    for event in client.stream("/v1/answer", body):
        content = json.loads(event.data)
        if event.name == "delta":
            shown += content["text"]
            terminal.write(content["text"])
        elif event.name == "final":
            terminal.line()
            if content["answer"].strip() != shown.strip():
                # What was streamed did not pass the checks against its sources: the final answer replaces it.
                terminal.line("The answer after checking it against its sources:", style="yellow")
                terminal.line(content["answer"])
            return dict(content)
        else:
            raise _unexpected(event)
    raise Unavailable("The answer broke off.", advice="Ask again.")


def _unexpected(event: Event) -> Unavailable:
    return Unavailable(f"The stream ended with {event.name!r}.", advice="Ask again; see `kaizen status`.")


def _show_citations(terminal: Terminal, citations: Sequence[Mapping[str, Any]]) -> None:
    for citation in citations:
        terminal.line(f"[{citation['number']}] {citation['title'] or citation['document_id']}", style="bold")
        terminal.line(f"    {citation['chunk_id']}: {_snippet(citation['text'])}", style="dim")


def _show_envelope(terminal: Terminal, answer: Mapping[str, Any]) -> None:
    if answer["coverage"] < 1:
        terminal.line(f"Partial: {answer['coverage']:.0%} of the shards answered in time.", style="yellow")
    if answer["degraded"]:
        terminal.line(f"Degraded: {', '.join(answer['degraded'])}", style="yellow")
    total = answer["timings_ms"].get("total")
    took = f", {total:.0f} ms" if total is not None else ""
    terminal.line(
        f"release {answer['release']}, seq {answer['index_seq']}{took}, impression {answer['impression_id']}",
        style="dim",
    )
