"""A short way through the framework for plain requests; every other takes the framework's own, and gets its answers.

What FastAPI does for one request (its dependencies, what it watches and keeps open for them, a second look at the
response) costs as much as authenticating, admitting and answering it. Figures are in docs/decisions.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import Response

JSON = "application/json"
# A larger body is not read before it is known whose it is.
MOST_BYTES = 65_536
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ShortRoute(APIRoute):
    """A route whose function takes a body (`request`) and a caller (`principal`, a dependency), and gives a model.

    Plain is a request with a small valid JSON body that is called so, and without query parameters.
    """

    def get_route_handler(self) -> Handler:
        """The function that responds to a request."""
        usual, answer = super().get_route_handler(), self.endpoint
        caller = next(each.call for each in self.dependant.dependencies if each.name == "principal")
        assert self.body_field is not None and caller is not None  # noqa: S101 (see the class)
        body: Any = self.body_field.field_info.annotation

        async def handle(request: Request) -> Response:
            asked = await _plain(request, body)
            if asked is None:
                return await usual(request)
            principal = await caller(request)
            reply: BaseModel = await answer(request=asked, principal=principal)
            return Response(reply.model_dump_json(), media_type=JSON)

        return handle


async def _plain(request: Request, body: type[BaseModel]) -> BaseModel | None:
    """The body of a plain request, else None. Read once: the framework finds it where this leaves it."""
    headers = request.headers
    if request.scope["query_string"] or headers.get("content-type") != JSON:
        return None
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return None
    try:
        return body.model_validate(json.loads(await request.body()))
    except (ValueError, RecursionError, ClientDisconnect):  # the framework says what is wrong
        return None
