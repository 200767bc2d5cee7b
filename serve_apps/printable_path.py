"""Refuses a path that cannot be told from another: `x%0A` would be taken for `x`, `%E9` and `%E8` both for U+FFFD."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from kaizen.errors import InvalidInput
from serve_apps.problems import problem_of


class PrintablePath:
    """ASGI middleware: 422 for a path that holds a character below U+0020, or DEL, or is not UTF-8."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        error = InvalidInput(
            "The path has a control character, or is not UTF-8.", advice="Use printable characters in ids, as UTF-8."
        )
        self._refusal = problem_of(error, retry_after=0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and not _is_printable(scope):
            await self._refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_printable(scope: Scope) -> bool:
    try:  # servers replace what they cannot decode
        unquote_to_bytes(scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError:
        return False
    return not any(c < " " or c == "\x7f" for c in scope["path"])
