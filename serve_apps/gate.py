"""Turns searches away in a rush before they are read: to refuse must cost next to nothing, or it costs the others."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from kaizen.errors import Overloaded
from serve_apps.metrics import Metrics
from serve_apps.problems import problem_of

SEARCH = "/v1/search"


class Gate:
    """ASGI middleware, the outermost: 429 for a search while `rush` says so."""

    def __init__(self, app: ASGIApp, rush: Callable[[], bool], retry_after: int, metrics: Metrics) -> None:
        self._app = app
        self._rush = rush
        self._metrics = metrics
        error = Overloaded("Too many requests are waiting.", advice="Try again after the time in Retry-After.")
        self._refusal = problem_of(error, retry_after)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] == SEARCH and self._rush():
            self._metrics.refusal(SEARCH, self._refusal.status_code)
            await self._refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)
