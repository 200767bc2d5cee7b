"""What a search meets first: a gate that shuts in a rush, and a short way to its answer.

What Serve and FastAPI do around searches takes a seventh of a gateway's CPU time, and four fifths where they are
refused. So the entrance stands before both, in the HTTP server of a replica; where Serve's own HTTP proxy is in
front, before FastAPI. A request that is not plain goes on, and nobody can tell by what comes back which way it took.

Of a plain search whose body is there and whose caller is known, nothing is waited for between the gate and its slot:
so a crowd that comes in one turn of the loop finds the gate shut behind its first. Figures are in docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaizen.errors import KaizenError
from kaizen.records import Principal
from serve_apps.admission import Admission, overloaded
from serve_apps.body_time import InTime
from serve_apps.measured import UNKNOWN
from serve_apps.metrics import Metrics
from serve_apps.problems import problem, problem_of, unexpected_problem
from serve_apps.schemas import SearchRequest, SearchResponse

log = logging.getLogger("kaizen.entrance")

SEARCH = "/v1/search"
# A larger body is not read before it is known whose it is (`known_sender`).
MOST_BYTES = 65_536
_JSON = "application/json"
_REQUEST_ID = b"x-request-id"
_SERVES_TIMEOUT = "x-request-timeout-seconds"  # Serve's to keep
# What Serve decodes as UTF-8 before anything of ours could catch that it is none. It takes `_` in a name for `-`.
_SERVES = {
    _REQUEST_ID,
    _SERVES_TIMEOUT.encode(),
    b"x-request-disconnect-disabled",
    os.environ.get("RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id").lower().replace("_", "-").encode(),
    b"serve-multiplexed-model-id",
    b"traceparent",
    b"tracestate",
}
_SEEN = "kaizen.seen"  # in the scope: a request enters once
Caller = Callable[[Request], Awaitable[Principal]]
Search = Callable[[Principal, SearchRequest], Awaitable[SearchResponse]]


class Entrance:
    """Plain is a search with a small valid JSON body, without query parameters, that waits for nothing.

    One that has to wait is better off with Serve, which watches whether its caller is still there.

    Args:
        caller: who calls; raises for who may not.
        search: takes a slot at once, or raises.
        max_bytes: what any body may have.
    """

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        caller: Caller,
        search: Search,
        *,
        retry_after: int,
        max_bytes: int,
    ) -> None:
        self._admission = admission
        self._metrics = metrics
        self._caller = caller
        self._search = search
        self._retry_after = retry_after
        self._most_bytes = min(max_bytes, MOST_BYTES)
        self._refusal = problem_of(overloaded(), retry_after)
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """From now on, on the running loop: what the entrance leads to belongs to it."""
        self._loop = asyncio.get_running_loop()

    def around(self, app: ASGIApp, *, outermost: bool = False) -> ASGIApp:
        """The application `app` behind the entrance.

        outermost: Serve is not around it, and responses name the request as Serve's do.
        """
        return partial(self._enter, app, outermost)

    async def _enter(self, app: ASGIApp, outermost: bool, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _SEEN not in scope and (unreadable := _unreadable(scope)):
            await self._refuse_header(unreadable, outermost, scope, send)
            return
        if scope["type"] != "http" or scope["path"] != SEARCH or _SEEN in scope or not self._is_here():
            await app(scope, receive, send)
            return
        scope[_SEEN] = True
        request_id = _request_id(scope) if outermost else None
        if self._admission.rush():
            self._metrics.refusal(SEARCH, self._refusal.status_code)
            await _respond(self._refusal, request_id, send)
            return
        read = _Read(receive)
        response = await self._answer(Request(scope), read, request_id)
        if response is None:
            await app(scope, read.again, send)
        else:
            await _respond(response, request_id, send)

    async def _refuse_header(self, name: str, outermost: bool, scope: Scope, send: Send) -> None:
        refusal = problem(
            400, "invalid-input", f"The header {name} is not ASCII.", "Send it in ASCII, or leave it out."
        )
        if self._is_here():
            self._metrics.refusal(SEARCH if scope["path"] == SEARCH else UNKNOWN, refusal.status_code)
        await _respond(refusal, _new_id() if outermost else None, send)

    def _is_here(self) -> bool:
        """Serve can be told to run its HTTP server on another loop than the application."""
        return self._loop is asyncio.get_running_loop()

    async def _answer(self, request: Request, read: _Read, request_id: bytes | None) -> Response | None:
        """The response to a plain search; None: it is for others to answer, who read it again."""
        began = time.perf_counter()
        try:
            asked = await self._plain(request, read)
            if asked is None:
                return None
            principal = await self._caller(request)
            if not self._admission.free():
                return None
            reply = await self._search(principal, asked)
            response = Response(reply.model_dump_json(), media_type=_JSON)
        except KaizenError as error:
            response = problem_of(error, self._retry_after)
        except Exception:
            log.exception("A search failed; its request is %s.", request_id)
            response = unexpected_problem()
        self._metrics.response(SEARCH, response.status_code, time.perf_counter() - began)
        return response

    async def _plain(self, request: Request, read: _Read) -> SearchRequest | None:
        headers = request.headers
        if request.method != "POST" or request.scope["query_string"] or headers.get("content-type") != _JSON:
            return None
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > self._most_bytes or _SERVES_TIMEOUT in headers:
            return None
        try:
            asked = SearchRequest.model_validate(json.loads(await read.body()))
        except (ValueError, RecursionError):  # FastAPI says what is wrong
            return None
        return None if asked.min_seq else asked


def _request_id(scope: Scope) -> bytes:
    """What the caller calls the request, or a name for it."""
    given = (value for name, value in scope["headers"] if name == _REQUEST_ID)
    return next(given, None) or _new_id()


def _new_id() -> bytes:
    return str(uuid.uuid4()).encode()


def _unreadable(scope: Scope) -> str:
    """The name of a header of Serve's that is not ASCII, as callers may spell any other; or nothing."""
    for name, value in scope["headers"]:
        if not value.isascii() and name.lower().replace(b"_", b"-") in _SERVES:
            return str(name, "ascii", "replace")
    return ""


async def _respond(response: Response, request_id: bytes | None, send: Send) -> None:
    """Send a response that may be everybody's, with the name of a request if it has one here."""
    named = [] if request_id is None else [(_REQUEST_ID, request_id)]
    headers = [*response.raw_headers, *named]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


class _Read:
    """What was read of a request, to be read again."""

    def __init__(self, receive: Receive) -> None:
        self._receive = InTime(receive).receive
        self._messages: list[Message] = []

    async def body(self) -> bytes:
        """All of it; nothing, when its caller hung up. Raises TooSlow."""
        more = True
        while more:
            message = await self._receive()
            self._messages.append(message)
            if message["type"] == "http.disconnect":
                return b""
            more = message.get("more_body", False)
        return b"".join(message["body"] for message in self._messages)

    async def again(self) -> Message:
        """From the beginning."""
        return self._messages.pop(0) if self._messages else await self._receive()
