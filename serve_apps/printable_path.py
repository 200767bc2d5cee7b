"""Refuses a path with a control character before it is matched: `x%0A` would else be taken for `x`, or for no path."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from kaizen.errors import InvalidInput
from serve_apps.problems import problem_of


class PrintablePath:
    """ASGI middleware: 422 for a path that holds a character below U+0020, or DEL."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        error = InvalidInput("The path has a control character.", advice="Use printable characters in ids.")
        self._refusal = problem_of(error, retry_after=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and any(c < " " or c == "\x7f" for c in scope["path"]):
            await self._refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)
