"""The API's description, as /openapi.json serves it: what FastAPI knows, and what only this server knows."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from kaizen.config import Server
from serve_apps.problems import MEDIA_TYPE
from serve_apps.schemas import Problem

_STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 503, 504, 507)
_TRY_AGAIN = (408, 429, 503, 504, 507)
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds until it is worth a try."}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "Problem",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        **({"headers": _RETRY_AFTER} if status in _TRY_AGAIN else {}),
    }
    for status in _STATUSES
}
"""What every route may respond with besides its result."""
# `callers.Callers` reads the header itself: a dependency of FastAPI's that only describes it costs every request.
_KEY = {"type": "http", "scheme": "bearer", "bearerFormat": "kz_...", "description": "A key of this service."}
_FOR_EVERYBODY = ("/healthz", "/readyz")


def description(app: FastAPI, server: Server) -> dict[str, Any]:
    """The OpenAPI document of `app`, with the limits of this server; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        made["components"]["securitySchemes"] = {"key": _KEY}
        for path, operations in made["paths"].items():
            if path not in _FOR_EVERYBODY:
                for operation in operations.values():
                    operation["security"] = [{"key": []}]
        schemas = made["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        schemas["SearchRequest"]["properties"]["k"]["maximum"] = server.max_k
        schemas["DocumentBatch"]["properties"]["documents"]["maxItems"] = server.max_batch_documents
        app.openapi_schema = made
    return app.openapi_schema
