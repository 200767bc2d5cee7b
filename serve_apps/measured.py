"""Counts every response, and how long it took to begin."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_apps.metrics import Metrics


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

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                path = getattr(route, "path", "unknown")  # the template: a label for each document id would be a leak
                self._metrics.response(path, message["status"], time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, noting)
