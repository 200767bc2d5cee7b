"""Counts every response, and how long it took to begin; also that of an error of ours, which is made further out."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_apps.metrics import Metrics

# The label of a route is its template, since one for each document's id would be a leak; this is the label of what was
# refused before it came to a route, or has none.
UNKNOWN = "unknown"


class Measured:
    """ASGI middleware, and not a function with `call_next`, which would cost each request a task and a stream."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note the response as it starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        def note() -> None:
            path = getattr(scope.get("route"), "path", UNKNOWN)
            self._metrics.response(path, status, time.perf_counter() - started)

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                note()
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not status:
                status = 500
                note()
            raise
