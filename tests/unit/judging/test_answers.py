"""Generators judged through the protocol that they speak: what they say is real, who says it is a small server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kaizen.answering.answer import NOT_IN_DOCUMENTS
from kaizen.answering.prompt import prompt_record
from kaizen.answering.source import Source
from kaizen.config import Answering, GeneratorSettings, Settings
from kaizen.judging.answers import Answerer, Question, agreement, check_generator, compare_answers, demonstrated
from kaizen.learning.dataset import table
from kaizen.models.generator_spec import generator_record
from kaizen.records import Release
from kaizen.workspace import Workspace, open_workspace

FACTS = {"pump": "Bertha", "valve": "Claude", "belt": "Dagmar", "gear": "Emil", "motor": "Frida"}
QUESTIONS = [
    Question(
        text=f"Who looks after the {part}?",
        sources=(
            Source(chunk_id="1", document_id="1", title="Shop", text=f"{name} looks after the {part}.", score=1.0),
        ),
        wanted=f"{name} looks after the {part}.",
    )
    for part, name in FACTS.items()
]
Says = Callable[[str], str]  # what the user's turn says -> the answer


@pytest.fixture
def serve() -> Iterator[Callable[[Says], str]]:
    """Starts endpoints that answer as they are told to; gives their URLs."""
    servers: list[ThreadingHTTPServer] = []

    def start(says: Says) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                event = json.dumps({"choices": [{"delta": {"content": says(asked["messages"][-1]["content"])}}]})
                body = f"data: {event}\n\ndata: [DONE]\n\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        servers.append(server := ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(Settings.model_validate({"workspace": {"directory": tmp_path}}))


def release(url: str) -> Release:
    settings = GeneratorSettings(kind="openai", model="m", endpoint_url=url)
    parts = {"generator": generator_record(settings), "prompt": prompt_record(Answering(min_relevance=0.0))}
    return Release(id="r1", number=1, at=0.0, fingerprint="f", parts=parts, parent=None)


def right(asked: str) -> str:
    return next(f"{name} looks after the {part}." for part, name in FACTS.items() if part in asked)


def code(workspace: Workspace, url: str) -> list[str]:
    return [finding.code for finding in check_generator(workspace, release(url), QUESTIONS, {})]


def test_what_is_wrong_with_a_generator_is_found(workspace: Workspace, serve: Callable[[Says], str]) -> None:
    assert code(workspace, serve(right)) == []
    assert code(workspace, serve(lambda asked: asked)) == ["echoes-prompt"]
    assert code(workspace, serve(lambda asked: asked.rsplit("Question:", 1)[-1])) == ["echoes-prompt"]
    assert code(workspace, serve(lambda asked: "Napoleon won at Austerlitz in 1805.")) == ["ungrounded"]


def test_answers_are_compared_with_what_people_wrote(workspace: Workspace, serve: Callable[[Says], str]) -> None:
    sides = (release(serve(lambda asked: "Not in the documents.")), release(serve(right)))
    with closing(Answerer(workspace, sides[0], {})) as before, closing(Answerer(workspace, sides[1], {})) as after:
        found = compare_answers(before, after, QUESTIONS).metrics
    assert (found["answered"].stable, found["answered"].candidate) == (0, 1)
    assert found["agreement"].candidate == 1
    assert found["agreement"].low > 0.5


def test_agreement() -> None:
    assert agreement("The pump was repaired.", "repaired pumps") == 1
    assert agreement("The valve leaks.", "The pump leaks.") == pytest.approx(0.5)
    assert agreement(NOT_IN_DOCUMENTS, "Bertha.") == 0
    assert agreement(NOT_IN_DOCUMENTS, NOT_IN_DOCUMENTS) == 1
    assert agreement("", "") == 0


def demonstrations(*changes: dict[str, Any]) -> pa.Table:
    row = {"query_id": "a", "query": "a", "tenant": "t", "split": "held_out", "sources": [{"title": "T", "text": "x"}],
           "chosen": "yes", "rejected": "", "kind": "correction", "weight": 0.9}  # fmt: skip
    return table("demonstrations", [row | change for change in changes])


def test_only_demonstrations_that_were_held_out_and_have_sources_are_asked() -> None:
    rows = demonstrations({}, {"query_id": "b", "split": "train"}, {"query_id": "c", "sources": []})
    assert [(one.text, one.wanted, one.sources[0].text) for one in demonstrated(rows, 10)] == [("a", "yes", "x")]


def test_a_query_is_asked_once_however_many_demonstrations_it_has() -> None:
    preferred = {"kind": "preference", "rejected": "no"}
    rows = demonstrations(
        preferred | {"chosen": "yes, of equal weight"}, {}, preferred,
        {"query_id": "b", "chosen": "weaker"}, preferred | {"query_id": "b", "chosen": "stronger", "weight": 1.0},
        {"tenant": "u", "chosen": "another tenant's"},
    )  # fmt: skip
    assert [one.wanted for one in demonstrated(rows, 10)] == ["yes", "another tenant's", "stronger"]
    assert [one.wanted for one in demonstrated(rows, 2)] == ["yes", "another tenant's"], "so many queries, not rows"
