"""What is wrong with a body is told in no time, whatever was sent; a large one is read from known callers only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.testclient import TestClient
from starlette.types import Message

from kaizen.body import MOST_FIELDS, Body
from kaizen.config import Settings
from kaizen.errors import NotAuthenticated, TooSlow
from kaizen.offline import offline_queries
from kaizen.records import SCOPES, Document, Principal
from kaizen.retrieval.filters import parse
from kaizen.security.keys import Known
from serve_apps import body_time
from serve_apps.api import build_api
from serve_apps.body_limit import MOST_ELSEWHERE
from serve_apps.callers import Callers
from serve_apps.documents import DocumentWriter
from serve_apps.entrance import MOST_BYTES
from serve_apps.problems import MOST_ERRORS
from serve_apps.schemas import AnswerRequest, DocumentBatch, SearchRequest

BATCH, SEARCH = "/v1/documents:batch", "/v1/search"
JSON = {"Content-Type": "application/json"}
KNOWN = {**JSON, "Authorization": "Bearer known"}
MANY = 100_000
MODELS: dict[str, type[Body]] = {SEARCH: SearchRequest, BATCH: DocumentBatch}


class Keys:
    """Knows one caller, and nothing of anybody else."""

    def remembered(self, header: str | None) -> Known | None:
        caller = Principal(key_id="k", tenant="acme", groups=(), scopes=SCOPES)
        return Known(caller, aging=False) if header == "Bearer known" else None

    def authenticate(self, _: str | None) -> Principal:
        raise NotAuthenticated("Nobody knows this key.", advice="Make one.")


class Everybody:
    @asynccontextmanager
    async def slot(self, **_: object) -> AsyncIterator[None]:
        yield


def served(metrics: object, **parts: object) -> FastAPI:
    """The API of a service that has nothing behind it but `parts`."""
    service: Any = SimpleNamespace(
        settings=Settings(),
        callers=Callers(Settings(), Keys()),  # type: ignore[arg-type]
        metrics=metrics,
        entrance=SimpleNamespace(around=lambda app: app),
        admission=Everybody(),
        **{"rollouts": None, **parts},
    )
    return build_api(service)


@pytest.fixture(scope="module")
def api() -> TestClient:
    return TestClient(served(SimpleNamespace(response=lambda *_: None)))


BAD: dict[str, tuple[str, Any]] = {
    "values of a filter": (SEARCH, {"query": "a", "filter": {"field": "x", "in": [None] * MANY}}),
    "parts of a filter": (SEARCH, {"query": "a", "filter": {"or": [{}] * MANY}}),
    "unknown fields": (SEARCH, {"query": "a", **{f"f{n}": 1 for n in range(MANY // 4)}}),
    "unknown fields of a filter": (
        SEARCH,
        {"query": "a", "filter": {"equals": 1} | dict.fromkeys(map(str, range(MANY // 4)))},
    ),
    "documents": (BATCH, {"documents": [{}] * MANY}),
    "groups": (BATCH, {"documents": [{"id": "a", "text": "b", "groups": [None] * MANY}]}),
    "metadata": (BATCH, {"documents": [{"id": "a", "text": "b", "metadata": {f"f{n}": None for n in range(MANY)}}]}),
    "values of a field": (BATCH, {"documents": [{"id": "a", "text": "b", "metadata": {"tags": [None] * MANY}}]}),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_very_many_mistakes_are_told_like_a_few(api: TestClient, what: str) -> None:
    path, body = BAD[what]
    response = api.post(path, content=json.dumps(body, separators=(",", ":")), headers=KNOWN)
    assert response.status_code == 422, response.text
    assert 1 <= len(response.json()["errors"]) <= MOST_ERRORS
    assert len(response.content) < 10_000
    with pytest.raises(
        ValidationError
    ) as found:  # each error costs a dictionary: all would take seconds, and the memory
        MODELS[path].model_validate(body)
    assert found.value.error_count() <= MOST_FIELDS


def test_one_unknown_field_among_many_is_named(api: TestClient) -> None:
    response = api.post(SEARCH, json={"query": "a", "colour": "red"}, headers=KNOWN)
    assert response.json()["type"] == "urn:kaizen:unknown-field"
    assert response.json()["errors"] == [{"at": "body.colour", "message": "Extra inputs are not permitted"}]


@pytest.mark.parametrize("name", ["groups", "Groups", " access ", "acl", "allowed_groups"])
def test_metadata_that_is_nearly_an_access_list_never_means_everybody(name: str) -> None:
    written: list[Document] = []

    def submit(documents: list[Document], _: str) -> Future[int]:
        written.extend(documents)
        seq: Future[int] = Future()
        seq.set_result(1)
        return seq

    ledger = SimpleNamespace(documents=SimpleNamespace(submit_upsert_many=submit))
    workspace: Any = SimpleNamespace(ledger=ledger, store=None, settings=Settings())
    indices: Any = SimpleNamespace(poke=lambda: None)
    metrics = SimpleNamespace(response=lambda *_: None)
    api = TestClient(served(metrics, documents=DocumentWriter(workspace, indices)))
    one = {"text": "t", "metadata": {name: ["hr"]}}
    for refused in (
        api.put("/v1/documents/a", json=one, headers=KNOWN),
        api.post(BATCH, json={"documents": [{"id": "b", "text": "t"}, {"id": "a", **one}]}, headers=KNOWN),
    ):
        problem = refused.json()
        assert (refused.status_code, written) == (422, [])
        assert problem["detail"] == f"The metadata of 'a' has {name.strip()!r}, which is not read as an access list."
        assert problem["advice"].startswith('Send it as `groups`: ["hr", "legal"]')
    plain = {"text": "t", "metadata": {"group": "Components", "accessibility": "good"}}
    assert api.put("/v1/documents/a", json=plain, headers=KNOWN).status_code == 200
    meant = {"text": "t", "metadata": {"acl": ["x"]}, "groups": ["hr"]}
    assert api.put("/v1/documents/a", json=meant, headers=KNOWN).status_code == 200
    assert [document.groups for document in written] == [(), ("hr",)]


def test_only_documents_may_be_large(api: TestClient) -> None:
    content = json.dumps({"query": "a" * MOST_ELSEWHERE})
    refused = api.post(SEARCH, content=content, headers=KNOWN)
    assert (refused.status_code, str(MOST_ELSEWHERE) in refused.json()["detail"]) == (413, True)
    wrong = json.dumps({"documents": [{"id": "a", "text": "b" * MOST_ELSEWHERE, "colour": "red"}]})
    assert api.post(BATCH, content=wrong, headers=KNOWN).status_code == 422, "it was read"


@pytest.mark.parametrize("path", [BATCH, SEARCH, "/v1/feedback", "/v1/documents/a"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_of_somebody_unknown_is_not_read(api: TestClient, path: str, declared: bool) -> None:
    read = []

    def body() -> Iterator[bytes]:
        for _ in range(40):
            read.append(MOST_BYTES)
            yield b"[" * MOST_BYTES

    length = {"Content-Length": str(40 * MOST_BYTES)} if declared else {}
    method = "PUT" if path.endswith("a") else "POST"
    response = api.request(method, path, content=body(), headers={**JSON, **length, "Authorization": "Bearer other"})
    expected = 413 if declared and "documents" not in path else 401
    assert (response.status_code, len(read)) == (expected, 0)


def test_a_small_body_of_somebody_unknown_is_a_401(api: TestClient) -> None:
    assert api.post(SEARCH, json={"query": "a"}).status_code == 401


async def _served(api: TestClient, begin: bytes, rest: bytes, pause: float) -> bytes:
    """What comes back over a real connection until it is closed, when `rest` is sent a byte at a time."""
    server = uvicorn.Server(uvicorn.Config(api.app, http="httptools", lifespan="off", log_config=None, port=0))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
    answer = asyncio.create_task(reader.read())
    writer.write(begin)
    for byte in rest:
        await asyncio.wait({answer}, timeout=pause)
        if not answer.done():
            writer.write(bytes([byte]))
    try:
        return await asyncio.wait_for(answer, 20)
    finally:
        writer.close()
        server.should_exit = True
        await serving


@pytest.mark.parametrize("path", ["/v1/feedback", BATCH, "/v1/answer"])
@pytest.mark.parametrize("rest", [b"", b" " * 50], ids=["nothing", "a byte now and then"])
def test_a_body_that_does_not_come_is_not_waited_for(
    api: TestClient, path: str, rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_time, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(body_time, "WHOLE_SECONDS", 1.0)
    begin = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    head, _, body = asyncio.run(_served(api, begin.encode(), rest, 0.1)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert {b"connection: close", b"retry-after: 1"} <= set(head.lower().split(b"\r\n"))
    assert json.loads(body)["type"] == "urn:kaizen:too-slow"


def test_the_more_came_of_a_body_the_longer_its_end_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_time, "WHOLE_SECONDS", 0.2)
    monkeypatch.setattr(body_time, "BYTES_A_SECOND", 100)

    def message(size: int, more: bool = True) -> Message:
        return {"type": "http.request", "body": b"x" * size, "more_body": more}

    async def read(*messages: Message) -> None:
        coming = iter(messages)

        async def receive() -> Message:
            await asyncio.sleep(0.15)
            return next(coming)

        body = body_time.InTime(receive)
        for _ in messages:
            await body.receive()

    asyncio.run(read(message(1000), message(1), message(1, more=False)))
    asyncio.run(read(message(1, more=False), message(1), message(1)))  # once it is whole there is nothing to wait for
    with pytest.raises(TooSlow):
        asyncio.run(read(message(1), message(1000), message(1, more=False)))


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ("co\u00adoperation\u200b", "cooperation"),
        ("Jose\u0301  Marti", "Jos\u00e9 Marti"),
        (" ", " "),
        ("\u200b", "\u200b"),
    ],
)
def test_a_query_is_read_as_documents_are(sent: str, asked: str) -> None:
    assert SearchRequest.model_validate({"query": sent}).query == asked
    assert AnswerRequest.model_validate({"question": sent}).question == asked
    assert offline_queries([(sent, "acme", ())], lambda texts: np.zeros((len(texts), 2)))[0].text == asked


def test_values_of_a_filter_are_sought_as_sent_and_as_metadata_holds_them() -> None:
    sent = {"query": "q", "filter": {"or": [{"field": "author", "equals": "Jose\u0301"}, {"field": "n", "equals": 1}]}}
    condition = SearchRequest.model_validate(sent).filter
    expected = [{"field": "author", "in": ["Jose\u0301", "Jos\u00e9"]}, {"field": "n", "equals": 1}]
    assert condition == parse({"or": expected})
