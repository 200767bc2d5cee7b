"""Asks who sends a large body before it is read: FastAPI reads and parses what it is sent, and then asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from kaizen.errors import KaizenError
from serve_apps.entrance import MOST_BYTES
from serve_apps.problems import problem_of

Check = Callable[[str | None], Awaitable[None]]


class KnownSender:
    """ASGI middleware: a body of unknown length, or of more than MOST_BYTES, is read from a caller with a key only.

    check: takes the header Authorization; raises for who has no key. What the key allows is the route's to say.
    """

    def __init__(self, app: ASGIApp, check: Check, retry_after: int) -> None:
        self._app = app
        self._check = check
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it unread."""
        if scope["type"] == "http" and _is_large(headers := Headers(scope=scope)):
            try:
                await self._check(headers.get("authorization"))
            except KaizenError as error:
                await problem_of(error, self._retry_after)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_large(headers: Headers) -> bool:
    length = headers.get("content-length") or "0"
    return "transfer-encoding" in headers or not length.isdecimal() or int(length) > MOST_BYTES
