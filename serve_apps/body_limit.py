"""Refuses request bodies over the limit before they are read whole, and those that do not come in time."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kaizen.errors import TooLarge, TooSlow
from serve_apps.body_time import InTime
from serve_apps.problems import problem_of

DOCUMENTS = "/v1/documents"
MOST_ELSEWHERE = 524_288  # the longest query with the largest filter, or the longest comment, takes less


class BodyLimit:
    """ASGI middleware: 413 for a declared or an actual body that is too large, 408 for one that does not come.

    max_bytes: of documents; what else there is has at most MOST_ELSEWHERE of it.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, retry_after: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        documents = scope["path"].startswith(DOCUMENTS)
        counted = _Counted(receive, send, self._max_bytes if documents else min(self._max_bytes, MOST_ELSEWHERE))
        try:
            counted.check(_declared_bytes(scope))
            await self._app(scope, counted.receive, counted.send)
        except (TooLarge, TooSlow) as error:
            counted.error = error
        if counted.error is not None:
            await problem_of(counted.error, self._retry_after)(scope, receive, send)


class _Counted:
    """One request, whose body is counted as it comes."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int) -> None:
        self._receive = InTime(receive).receive
        self._send = send
        self._max_bytes = max_bytes
        self._seen = 0
        self.error: TooLarge | TooSlow | None = None

    def check(self, size: int) -> None:
        """Raises TooLarge when a body of `size` bytes is over the limit."""
        if size > self._max_bytes:
            raise TooLarge(
                f"The body is over the limit of {self._max_bytes} bytes.",
                advice="Send less at a time; bulk goes through `kaizen ingest`. For documents, the limit is "
                "server.max_body_bytes.",
            )

    async def receive(self) -> Message:
        try:
            message = await self._receive()
            self._seen += len(message.get("body", b""))
            self.check(self._seen)
        except (TooLarge, TooSlow) as error:
            self.error = error
            raise
        return message

    async def send(self, message: Message) -> None:
        """The framework takes any error while it reads a body for bad JSON: then its answer gives way to ours."""
        if self.error is None:
            await self._send(message)


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
