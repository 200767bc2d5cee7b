"""The short way through the framework: nobody can tell it from the framework's own by what comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from kaizen.errors import NotAuthenticated
from kaizen.records import Principal
from serve_apps import problems
from serve_apps.body_limit import BodyLimit
from serve_apps.known_parameters import refuse_unknown_parameters
from serve_apps.schemas import Body, Reply
from serve_apps.short_route import ShortRoute

JSON = {"content-type": "application/json"}
KNOWN = Principal(key_id="k", tenant="t", groups=(), scopes=("search",))
MOST_BYTES = 4000


class Question(Body):
    text: str
    k: int = 10


class Answer(Reply):
    text: str
    of: str
    score: float | None = None


async def caller(request: Request) -> Principal:
    if request.headers.get("authorization") != "Bearer good":
        raise NotAuthenticated("No key.", advice="Send one.")
    return KNOWN


async def answer(request: Question, principal: Annotated[Principal, Depends(caller)]) -> Answer:
    if request.text == "fail":
        raise RuntimeError("a fault of ours")
    return Answer(text=request.text * request.k, of=principal.tenant)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    made = FastAPI(dependencies=[Depends(refuse_unknown_parameters)])
    problems.install(made, retry_after=1)
    made.add_middleware(BodyLimit, max_bytes=MOST_BYTES)
    made.router.add_api_route("/short", answer, methods=["POST"], route_class_override=ShortRoute)
    made.router.add_api_route("/usual", answer, methods=["POST"])
    return made


def ask(app: FastAPI, path: str, **sent: Any) -> httpx.Response:  # noqa: ANN401 (as httpx has it)
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, **{"headers": {**JSON, "authorization": "Bearer good"}, **sent})

    return asyncio.run(post())


GOOD = b'{"text": "a\\u00e9", "k": 2}'
ASKED: dict[str, dict[str, Any]] = {
    "plain": {"content": GOOD},
    "a default": {"content": b'{"text": "a"}'},
    "an unknown field": {"content": b'{"text": "a", "q": 1}'},
    "a wrong type": {"content": b'{"text": 1}'},
    "no object": {"content": b"[]"},
    "not a number": {"content": b'{"text": "a", "k": NaN}'},
    "no JSON": {"content": b'{"text": '},
    "no UTF-8": {"content": b'{"text": "\xff"}'},
    "half a character": {"content": b'{"text": "\\ud800"}'},
    "too deep": {"content": b'{"text": ' + b"[" * 1500 + b"]" * 1500 + b"}"},
    "empty": {"content": b""},
    "too large": {"content": json.dumps({"text": "x" * MOST_BYTES}).encode()},
    "text": {"content": GOOD, "headers": {"content-type": "text/plain", "authorization": "Bearer good"}},
    "no type": {"content": GOOD, "headers": {"authorization": "Bearer good"}},
    "with a character set": {
        "content": GOOD,
        "headers": {"content-type": "application/json; charset=utf-8", "authorization": "Bearer good"},
    },
    "an unknown parameter": {"content": GOOD, "params": {"x": "1"}},
    "nobody": {"content": GOOD, "headers": JSON},
    "nobody, and wrong": {"content": b"{}", "headers": JSON},
    "a fault of ours": {"content": b'{"text": "fail"}'},
}


@pytest.mark.parametrize("sent", ASKED.values(), ids=ASKED)
def test_both_ways_lead_to_the_same_response(app: FastAPI, sent: dict[str, Any]) -> None:
    short, usual = ask(app, "/short", **sent), ask(app, "/usual", **sent)
    assert (short.status_code, short.headers, short.content) == (usual.status_code, usual.headers, usual.content)


def test_a_plain_request_takes_the_short_way_and_others_do_not(app: FastAPI) -> None:
    """The framework's own way looks at each dependency."""
    solved: list[str] = []

    async def noted(request: Request) -> None:
        solved.append(request.scope["path"])

    app.dependency_overrides[refuse_unknown_parameters] = noted
    try:
        assert ask(app, "/short", content=GOOD).json()["text"] == "aéaé"
        assert solved == []
        assert ask(app, "/short", content=b"{}").status_code == 422
        assert solved == ["/short"]
    finally:
        app.dependency_overrides.clear()


def test_both_are_described_alike(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    short, usual = (json.dumps(paths[name]).replace(name[1:], "").replace(name[1:].title(), "") for name in paths)
    assert short == usual
