"""Turns searches away in a rush before they are read: to refuse must cost next to nothing, or it costs the others.

What Serve does around an application costs three times as much as all else of a refusal, so the gate stands before
Serve, in its HTTP server; and before the application, where an HTTP proxy of Serve is in front. Figures are in
docs/decisions.md.
"""

from __future__ import annotations

from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from kaizen.errors import Overloaded
from serve_apps.admission import Admission
from serve_apps.metrics import Metrics
from serve_apps.problems import problem_of

SEARCH = "/v1/search"
_PASSED = "kaizen.passed"  # in the scope: a request goes through one gate


class Gate:
    """429 for a search while there is a rush."""

    def __init__(self, admission: Admission, retry_after: int, metrics: Metrics) -> None:
        self._admission = admission
        self._metrics = metrics
        error = Overloaded("Too many requests are waiting.", advice="Try again after the time in Retry-After.")
        self._refusal = problem_of(error, retry_after)

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application `app` behind the gate."""
        return partial(self._let_in, app)

    async def _let_in(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != SEARCH or _PASSED in scope:
            await app(scope, receive, send)
        elif self._admission.rush():
            self._metrics.refusal(SEARCH, self._refusal.status_code)
            await self._refusal(scope, receive, send)
        else:
            scope[_PASSED] = True
            with self._admission.arriving():
                await app(scope, receive, send)
