"""What uvicorn makes of each request in this process. It has no setting for either of the two things that differ here:
a response leaves in one write, and there is something around everything else, Serve's own part included."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp
from uvicorn.protocols.http import httptools_impl

from serve_apps.joined_writes import JoinedWrites

# Where Serve is told of middleware around everything.
MIDDLEWARE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"


def change_cycle(around: Callable[[ASGIApp], ASGIApp]) -> None:
    """From now on, for all servers of this process.

    around: makes of an application the one that is called, for each request; unless an operator has put middleware of
            their own around everything, which a way around it would undo.
    """
    theirs = os.environ.get(MIDDLEWARE)

    class Cycle(httptools_impl.RequestResponseCycle):
        """A request and its response."""

        def __init__(self, *, transport: Any, **others: Any) -> None:  # noqa: ANN401 (uvicorn's own)
            super().__init__(transport=JoinedWrites(transport), **others)  # type: ignore[arg-type]

        async def run_asgi(self, app: Any) -> None:  # noqa: ANN401 (uvicorn's own)
            await super().run_asgi(app if theirs else around(app))  # type: ignore[arg-type]

    httptools_impl.RequestResponseCycle = Cycle  # type: ignore[assignment,misc]
