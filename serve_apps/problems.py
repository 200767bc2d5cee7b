"""Errors as RFC 9457 problem+json: one table from the error tree to status codes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from kaizen.errors import (
    BadDocument,
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    KaizenError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotYetSearchable,
    Overloaded,
    StorageFull,
    TooLarge,
    TooSlow,
    TransientError,
    UnknownField,
    WriterStopped,
)

# The most specific class of an error decides.
STATUS: dict[type[KaizenError], int] = {
    UnknownField: 400,
    TooLarge: 413,
    InvalidInput: 422,
    BadDocument: 422,
    NotFound: 404,
    Conflict: 409,
    NotAuthenticated: 401,
    NotAllowed: 403,
    Overloaded: 429,
    NotYetSearchable: 503,
    DeadlineExceeded: 504,
    TooSlow: 408,
    StorageFull: 507,
    TransientError: 503,
    WriterStopped: 503,
    KaizenError: 500,
}
MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20  # that one response names
# What the framework refuses by itself.
_HTTP = {
    400: ("invalid-json", "Send valid JSON in UTF-8. The schema with examples is at /docs."),
    404: ("not-found", "The paths and methods are listed at /docs."),
    405: ("method-not-allowed", "The paths and methods are listed at /docs."),
}


def status_of(error: KaizenError) -> int:
    """HTTP status of an error of ours."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(
    status: int,
    code: str,
    detail: str,
    advice: str,
    retry_after: int | None = None,
    allow: str = "",
    **more: object,
) -> Response:
    """A problem+json response."""
    body = {
        "type": f"urn:kaizen:{code}",
        "title": code.replace("-", " "),
        "status": status,
        "detail": detail,
        "advice": advice,
        **more,
    }
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if allow:
        headers["Allow"] = allow
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 408:
        headers["Connection"] = "close"  # what is still to come of the body would be taken for the next request
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: KaizenError, retry_after: int) -> Response:
    """The response for an error of ours; it says when to try again where that may help, be it with another replica."""
    waits = retry_after if isinstance(error, TransientError | WriterStopped) else None
    return problem(status_of(error), error.code, error.message, error.advice, waits)


def unexpected_problem() -> Response:
    """The response for any other error: the caller learns nothing of our insides."""
    return problem(500, "internal-error", "Something went wrong here that should not.", "Try again; then tell us.")


def install(app: FastAPI, retry_after: int) -> None:
    """Turn every error of the application into problem+json."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, KaizenError)  # noqa: S101  # registered for this class only
        return problem_of(error, retry_after)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return _invalid(error) if _sent_json(request, error) else _not_json()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        code, advice = _HTTP.get(error.status_code, ("http-error", "The paths and methods are listed at /docs."))
        allow = _allowed(request) if error.status_code == 405 else ""
        return problem(error.status_code, code, str(error.detail), advice, allow=allow)

    async def unexpected(_: Request, error: Exception) -> Response:
        return unexpected_problem()  # the server logs the traceback

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        KaizenError: ours,
        RequestValidationError: invalid,
        HTTPException: http,
        Exception: unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _allowed(request: Request) -> str:
    """The methods of all routes at this path: the framework's own answer names those of the first one only."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    here = (route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted(set().union(*here)))


def _sent_json(request: Request, error: RequestValidationError) -> bool:
    """Whether what came in the body was meant as JSON; without that header it is not even looked at."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.endswith("json") or all(tuple(found["loc"]) != ("body",) for found in error.errors())


def _not_json() -> Response:
    return problem(
        415,
        "unsupported-media-type",
        "The body does not say that it is JSON.",
        "Send the header Content-Type: application/json.",
    )


def _invalid(error: RequestValidationError) -> Response:
    """Name the first places and what is wrong there, without echoing the input."""
    all_found = error.errors()
    errors = [
        {"at": ".".join(str(part) for part in found["loc"]), "message": str(found["msg"])}
        for found in all_found[:MOST_ERRORS]
    ]
    unknown = any(found["type"] == "extra_forbidden" for found in all_found)
    broken = any(found["type"] == "json_invalid" for found in all_found)
    code = "unknown-field" if unknown else "invalid-json" if broken else "invalid-input"
    first = errors[0] if errors else {"at": "body", "message": "invalid"}
    detail = f"{first['at']}: {first['message']}"
    return problem(400 if broken else 422, code, detail, "The schema with examples is at /docs.", errors=errors)
