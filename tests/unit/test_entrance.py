"""The entrance: nobody can tell a short way by what comes back, and a crowd in a rush is refused before it is read."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Annotated, Any
from unittest.mock import AsyncMock, Mock

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaizen.errors import NotAuthenticated, NotFound
from kaizen.records import Principal
from serve_apps import body_time, problems
from serve_apps.admission import FEW, Admission
from serve_apps.body_limit import BodyLimit
from serve_apps.entrance import SEARCH, Entrance
from serve_apps.known_parameters import refuse_unknown_parameters
from serve_apps.metrics import Metrics
from serve_apps.schemas import Explanation, Hit, SearchRequest, SearchResponse

JSON = {"content-type": "application/json"}
WHOLE = {**JSON, "authorization": "Bearer good"}
KNOWN = Principal(key_id="k", tenant="t", groups=(), scopes=("search",))
MOST_BYTES = 4000
RETRY_AFTER = 3
EXPLAINED = Explanation(cosine=0.1, bm25=None, dense_part=1 / 3, lexical_part=0.0, matched_terms={"é": 2.0})


async def caller(request: Request) -> Principal:
    if request.headers.get("authorization") != "Bearer good":
        raise NotAuthenticated("No key.", advice="Send one.")
    return KNOWN


def found(request: SearchRequest) -> SearchResponse:
    """Something of every kind: text that is no ASCII, numbers, nothing at all."""
    hit = Hit(
        position=1,
        chunk_id="c",
        document_id="d",
        title="aé\u2028",
        text=request.query * request.k,
        start=0,
        end=1,
        score=0.1 + 0.2,
        source="",
        metadata={"a": [1, None, True]},
        explain=EXPLAINED if request.explain else None,
    )
    return SearchResponse(
        hits=[hit],
        release="r1",
        index_seq=3,
        coverage=1.0,
        degraded=[],
        impression_id="i",
        timings_ms={"total": 1e-7},
    )


class House:
    """The application behind two entrances, as it is in an installation, or behind none."""

    def __init__(self, *, entrances: int = 2, outermost: bool = False) -> None:
        self.admission = Admission(ongoing=64, queued=64)
        self.metrics = Mock(spec=Metrics)
        self.go = asyncio.Event()
        self.go.set()
        self.usual = 0  # requests that came to the framework
        self.searched = 0
        self.entrance = Entrance(
            self.admission, self.metrics, caller, self.search, retry_after=RETRY_AFTER, max_bytes=MOST_BYTES
        )
        self.app: ASGIApp = self._counted(self._framework())
        for left in range(entrances, 0, -1):
            self.app = self.entrance.around(self.app, outermost=outermost and left == 1)

    async def search(self, _principal: Principal, request: SearchRequest) -> SearchResponse:
        async with self.admission.slot(search=not request.min_seq):
            self.searched += 1
            await self.go.wait()
            if request.query == "fail":
                raise RuntimeError("a fault of ours")
            if request.query == "nothing":
                raise NotFound("There is none.", advice="Look elsewhere.")
            return found(request)

    def ask(self, path: str = SEARCH, method: str = "POST", **sent: Any) -> httpx.Response:  # noqa: ANN401 (as in httpx)
        async def send() -> httpx.Response:
            self.entrance.open()
            return await self.ask_here(path, method, **sent)

        return asyncio.run(send())

    async def ask_here(self, path: str = SEARCH, method: str = "POST", **sent: Any) -> httpx.Response:  # noqa: ANN401
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, **{"headers": WHOLE, **sent})

    def _framework(self) -> FastAPI:
        made = FastAPI(dependencies=[Depends(refuse_unknown_parameters)])
        problems.install(made, retry_after=RETRY_AFTER)
        made.add_middleware(BodyLimit, max_bytes=MOST_BYTES, retry_after=RETRY_AFTER)

        @made.post(SEARCH)
        async def search(request: SearchRequest, principal: Annotated[Principal, Depends(caller)]) -> SearchResponse:
            return await self.search(principal, request)

        return made

    def _counted(self, app: ASGIApp) -> ASGIApp:
        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            self.usual += 1
            await app(scope, receive, send)

        return counting


GOOD = b'{"query": "a\\u00e9", "k": 2}'
TOO_LARGE = json.dumps({"query": "a", "user": "x" * MOST_BYTES}).encode()


async def _in_pieces() -> Any:  # noqa: ANN401 (an iterator of bytes, without a length)
    yield GOOD[:7]
    yield GOOD[7:]


PLAIN: dict[str, dict[str, Any]] = {
    "plain": {"content": GOOD},
    "a default": {"content": b'{"query": "a"}'},
    "explained": {"content": b'{"query": "a", "explain": true}'},
    "nobody": {"content": GOOD, "headers": JSON},
    "nothing there": {"content": b'{"query": "nothing"}'},
    "a fault of ours": {"content": b'{"query": "fail"}'},
}
OTHERS: dict[str, dict[str, Any]] = {
    "an unknown field": {"content": b'{"query": "a", "q": 1}'},
    "a wrong type": {"content": b'{"query": 1}'},
    "no object": {"content": b"[]"},
    "not a number": {"content": b'{"query": "a", "k": NaN}'},
    "no JSON": {"content": b'{"query": '},
    "no UTF-8": {"content": b'{"query": "\xff"}'},
    "half a character": {"content": b'{"query": "\\ud800"}'},
    "too deep": {"content": b'{"query": ' + b"[" * 1500 + b"]" * 1500 + b"}"},
    "empty": {"content": b""},
    "too large": {"content": TOO_LARGE},
    "in pieces": {"content": _in_pieces},
    "text": {"content": GOOD, "headers": {**WHOLE, "content-type": "text/plain"}},
    "no type": {"content": GOOD, "headers": {"authorization": "Bearer good"}},
    "with a character set": {"content": GOOD, "headers": {**WHOLE, "content-type": "application/json; charset=utf-8"}},
    "an unknown parameter": {"content": GOOD, "params": {"x": "1"}},
    "nobody, and wrong": {"content": b"{}", "headers": JSON},
    "another method": {"method": "GET"},
    "another path": {"content": GOOD, "path": "/v1/searches"},
    "with Serve's limit of time": {"content": GOOD, "headers": {**WHOLE, "x-request-timeout-seconds": "9"}},
    "waits for a change": {"content": b'{"query": "a", "min_seq": 1}'},
}


def _made(sent: dict[str, Any]) -> dict[str, Any]:
    return {name: value() if callable(value) else value for name, value in sent.items()}


@pytest.mark.parametrize("sent", [*PLAIN.values(), *OTHERS.values()], ids=[*PLAIN, *OTHERS])
def test_both_ways_lead_to_the_same_response(sent: dict[str, Any]) -> None:
    short, usual = House().ask(**_made(sent)), House(entrances=0).ask(**_made(sent))
    assert (short.status_code, short.headers, short.content) == (usual.status_code, usual.headers, usual.content)


@pytest.mark.parametrize(("kind", "usual"), [(PLAIN, 0), (OTHERS, 1)], ids=["plain", "others"])
def test_plain_searches_take_the_short_way_and_others_do_not(kind: dict[str, dict[str, Any]], usual: int) -> None:
    for name, sent in kind.items():
        house = House()
        status = house.ask(**_made(sent)).status_code
        assert house.usual == usual, name
        assert house.metrics.response.call_count == 1 - usual, name  # others are measured where they are answered
        if not usual:
            assert house.metrics.response.call_args[0][:2] == (SEARCH, status)


@pytest.mark.parametrize("before", [True, False], ids=["it was full before", "others were known in the same moment"])
def test_what_would_have_to_wait_takes_the_usual_way(before: bool) -> None:
    """Serve watches whether its caller is still there."""

    async def run() -> tuple[int, Counter[int]]:
        house = House()
        house.entrance.open()
        asking = []
        async with AsyncExitStack() as stack:
            for _ in range(64 if before else 0):
                await stack.enter_async_context(house.admission.slot())
            house.go.clear()
            asking += [asyncio.create_task(house.ask_here(content=GOOD)) for _ in range(10 if before else 74)]
            while house.admission.waiting < 10:
                await asyncio.sleep(0)
        house.go.set()
        return house.usual, Counter([(await each).status_code for each in asking])

    assert asyncio.run(run()) == (10, {200: 10 if before else 74})


def test_on_another_loop_the_entrance_is_no_more_than_a_hole() -> None:
    """What it leads to belongs to one loop: before that runs, and for a server on another one, it lets all through."""
    house = House()
    assert asyncio.run(house.ask_here(content=GOOD)).status_code == 200
    assert house.usual == 1
    assert house.ask(content=GOOD).status_code == 200
    assert house.usual == 1
    assert asyncio.run(house.ask_here(content=GOOD)).status_code == 200
    assert house.usual == 2


def test_a_response_is_named_as_serve_names_it() -> None:
    house = House(outermost=True)
    given = house.ask(content=GOOD, headers={**WHOLE, "X-Request-ID": "mine"})
    assert given.headers["x-request-id"] == "mine"
    one, other = (house.ask(content=GOOD).headers["x-request-id"] for _ in range(2))
    assert one != other
    assert "x-request-id" not in House().ask(content=GOOD).headers  # there Serve does it
    assert "x-request-id" not in house.ask(content=b"{}").headers
    house.admission._searches = 64
    house.admission._pace.refused(house.admission._clock())
    refused = [house.ask(content=GOOD) for _ in range(2)]
    assert [each.status_code for each in refused] == [429, 429]
    assert len({each.headers["x-request-id"] for each in refused}) == 2


@pytest.mark.parametrize("body", [GOOD[:5], GOOD], ids=["half", "whole"])
def test_for_who_hangs_up_nothing_is_searched(body: bytes) -> None:
    async def run() -> tuple[int, int]:
        house = House()
        house.entrance.open()
        messages = iter([{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> Message:
            return next(messages)

        headers = [(name.encode(), value.encode()) for name, value in WHOLE.items()]
        scope = {"type": "http", "path": SEARCH, "method": "POST", "query_string": b"", "root_path": ""}
        await house.app({**scope, "headers": [*headers, (b"content-length", b"30")]}, receive, AsyncMock())
        return house.usual, house.searched

    assert asyncio.run(run()) == (1, 0)


class Crowd:
    """So many searches in one turn of the loop, in a rush or not."""

    def __init__(self, *, rush: bool) -> None:
        self.house = House()
        self.house.entrance.open()
        self._kept: list[asyncio.Task[None]] = []
        if rush:
            self.house.admission._pace.refused(self.house.admission._clock())

    def keeps(self, asking: Coroutine[Any, Any, None]) -> None:
        """Something that goes on beside it."""
        self._kept.append(asyncio.create_task(asking))

    async def comes(self, requests: int) -> Counter[int]:
        """How each fared."""
        self.house.go.clear()
        coming = [asyncio.create_task(self.house.ask_here(content=GOOD)) for _ in range(requests)]
        for _ in range(20):
            await asyncio.sleep(0)
        self.house.go.set()
        responses = await asyncio.gather(*coming)
        refused = [each for each in responses if each.status_code == 429]
        assert all(each.headers["retry-after"] == str(RETRY_AFTER) for each in refused)
        return Counter(each.status_code for each in responses)


def test_a_crowd_in_calm_comes_in() -> None:
    async def run() -> Counter[int]:
        return await Crowd(rush=False).comes(50)

    assert asyncio.run(run()) == {200: 50}


def test_in_a_rush_no_more_come_in_than_may_be_at_work() -> None:
    """They come in one turn of the loop; the first two shut the gate behind them."""

    async def run() -> tuple[Counter[int], int]:
        crowd = Crowd(rush=True)
        return await crowd.comes(50), crowd.house.metrics.refusal.call_count

    fared, counted = asyncio.run(run())
    assert fared == {200: FEW, 429: 50 - FEW}
    assert counted == 50 - FEW  # at the gate, and not for want of a slot


def test_who_sends_no_body_keeps_nobody_out() -> None:
    """In a rush few may be at work, and it takes no key to begin a request."""

    async def run() -> Counter[int]:
        crowd = Crowd(rush=True)
        never = asyncio.Event()

        async def receive() -> Message:
            await never.wait()
            raise AssertionError("nothing comes")

        for kind in (b"application/json", b"application/json; charset=utf-8") * 5:
            headers = [(b"content-type", kind), (b"content-length", b"50")]
            scope = {"type": "http", "path": SEARCH, "method": "POST", "query_string": b"", "root_path": ""}
            crowd.keeps(crowd.house.app({**scope, "headers": headers}, receive, AsyncMock()))
        for _ in range(20):
            await asyncio.sleep(0)
        return await crowd.comes(FEW)

    assert asyncio.run(run()) == {200: FEW}


@pytest.mark.parametrize(
    "name", ["X-Request-ID", "X-Request-Timeout-Seconds", "x-session-id", "serve_multiplexed_model_id"]
)
@pytest.mark.parametrize("path", [SEARCH, "/healthz"])
def test_a_header_that_serve_could_not_read_comes_to_nobody(name: str, path: str) -> None:
    """It would be a 500 of Serve's, in plain text, with a traceback in its log."""
    house = House(outermost=True)
    for value in ("caf\u00e9".encode("latin-1"), "caf\u00e9".encode()):
        response = house.ask(path, content=GOOD, headers=[*WHOLE.items(), (name, value)])
        assert (response.status_code, response.headers["content-type"]) == (400, problems.MEDIA_TYPE)
        assert name.lower() in response.json()["detail"]
        assert response.headers["x-request-id"].isascii()
    assert (house.usual, house.searched) == (0, 0)
    house.metrics.refusal.assert_called_with(path if path == SEARCH else "unknown", 400)


def test_any_other_header_may_be_what_it_likes() -> None:
    assert (
        House(outermost=True)
        .ask(content=GOOD, headers={**WHOLE, "user-agent": "caf\u00e9".encode("latin-1")})
        .status_code
        == 200
    )


def test_a_search_whose_body_does_not_come_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_time, "SILENCE_SECONDS", 0.05)

    async def half() -> Any:  # noqa: ANN401 (an iterator of bytes)
        yield GOOD[:7]
        await asyncio.Event().wait()

    for house in (House(), House(entrances=0)):
        response = house.ask(content=half(), headers={**WHOLE, "content-length": str(len(GOOD))})
        assert (response.status_code, response.headers["retry-after"]) == (408, str(RETRY_AFTER))
        assert response.json()["type"] == "urn:kaizen:too-slow"
        assert house.searched == 0


def test_in_a_rush_other_paths_are_open() -> None:
    async def run() -> tuple[int, int]:
        house = Crowd(rush=True).house
        house.admission._searches = 64
        return (await house.ask_here("/v1/status", "GET")).status_code, (await house.ask_here(content=GOOD)).status_code

    assert asyncio.run(run()) == (404, 429)
