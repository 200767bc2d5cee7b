"""Refuses request bodies over the limit before they are read whole."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaizen.errors import TooLarge
from serve_apps.problems import problem_of


class BodyLimit:
    """ASGI middleware: 413 for a declared or an actual body of more than `max_bytes`."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if _declared_bytes(scope) > self._max_bytes:
                raise self._error()
            await self._app(scope, self._counted(receive), send)
        except TooLarge as error:
            await problem_of(error, 0)(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise self._error()
            return message

        return counting

    def _error(self) -> TooLarge:
        return TooLarge(
            f"The body is over the limit of {self._max_bytes} bytes.",
            advice="Send less at a time; bulk goes through `kaizen ingest`. The limit is server.max_body_bytes.",
        )


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
