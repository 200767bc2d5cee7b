"""The HTTP API: routes only. What happens behind them is in searching, answering, documents and feedback."""

# No postponed annotations here: FastAPI could not see the dependencies that are made inside the functions below.
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Path, Query
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from kaizen.records import Principal
from serve_apps import problems
from serve_apps.body_limit import BodyLimit
from serve_apps.documents import Wait, with_id
from serve_apps.entrance import SEARCH
from serve_apps.known_parameters import refuse_unknown_parameters
from serve_apps.known_sender import KnownSender
from serve_apps.measured import Measured
from serve_apps.openapi import PROBLEMS, description
from serve_apps.printable_path import PrintablePath
from serve_apps.rollout_schemas import HistoryReply, RolloutChange, RolloutReply, Switch
from serve_apps.schemas import (
    DOCUMENT_ID,
    KEYS_OF_A_TENANT,
    AnswerRequest,
    AnswerResponse,
    ChangeResponse,
    DocumentBatch,
    DocumentBody,
    DocumentResponse,
    FeedbackRequest,
    FeedbackResponse,
    IdempotencyKey,
    Readiness,
    ReleasesResponse,
    SearchRequest,
    SearchResponse,
)
from serve_apps.service import Service

DESCRIPTION = """Search and grounded answers over your own documents.

Send your key as `Authorization: Bearer kz_...`. Every response names the `release` that made it, the `index_seq` it
saw, its `coverage` (below 1: partial), what was `degraded`, and an `impression_id` to give feedback on."""
EVENTS = "text/event-stream"
DocumentId = Annotated[str, Path(json_schema_extra=DOCUMENT_ID)]
ReleaseId = Annotated[str, Path(max_length=64, pattern="^[!-~]+$")]


def build_api(service: Service) -> FastAPI:
    """The application around `service`; whatever is no plain search passes the body limit and the counting."""
    app = FastAPI(
        title="Kaizen",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan(service),
        dependencies=[Depends(refuse_unknown_parameters)],
        responses=PROBLEMS,
        redirect_slashes=False,  # a path that is not there is a 404, not a way to another one
        openapi_tags=[{"name": name} for name in ("search", "documents", "feedback", "rollout", "operation")],
    )
    retry_after = service.settings.server.retry_after_seconds
    app.openapi = partial(description, app, service.settings.server)  # type: ignore[method-assign]
    problems.install(app, retry_after)
    app.add_middleware(KnownSender, check=service.callers.check, retry_after=retry_after)
    app.add_middleware(BodyLimit, max_bytes=service.settings.server.max_body_bytes, retry_after=retry_after)
    app.add_middleware(PrintablePath)
    app.add_middleware(Measured, metrics=service.metrics)  # around the others: what they refuse is counted, too
    app.add_middleware(service.entrance.around)
    _add_search(app, service)
    _add_documents(app, service)
    _add_rollout(app, service)
    _add_operation(app, service)
    return app


def _lifespan(service: Service) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    return run


def _add_search(app: FastAPI, service: Service) -> None:
    reader = Annotated[Principal, Depends(service.callers.with_scope("search"))]
    judge = Annotated[Principal, Depends(service.callers.with_scope("feedback"))]

    @app.post(SEARCH, tags=["search"])
    async def search(request: SearchRequest, principal: reader) -> SearchResponse:
        """Rank the chunks that answer a query best."""
        return await service.search(principal, request)

    events = {
        200: {
            "description": "The answer; with `stream`, its events",
            "content": {EVENTS: {"schema": {"type": "string"}}},
        }
    }

    @app.post("/v1/answer", tags=["search"], response_model=AnswerResponse, responses=events)
    async def answer(request: AnswerRequest, principal: reader) -> Response | AnswerResponse:
        """Answer a question from the documents, with citations; or say honestly that they do not hold the answer."""
        if request.stream:
            return StreamingResponse(await service.asking.answer_events(principal, request), media_type=EVENTS)
        async with service.admission.slot():
            return await service.asking.answer(principal, request)

    @app.post("/v1/feedback", tags=["feedback"])
    async def feedback(request: FeedbackRequest, principal: judge) -> FeedbackResponse:
        """Judge what was shown. Durable when this responds. 503: what it judges is not on record yet."""
        return await service.feedback(principal, request)


def _add_documents(app: FastAPI, service: Service) -> None:
    reader = Annotated[Principal, Depends(service.callers.with_scope("search"))]
    writer = Annotated[Principal, Depends(service.callers.with_scope("write"))]
    key_header = Annotated[IdempotencyKey, Header(description=KEYS_OF_A_TENANT)]
    wait_query = Annotated[Wait, Query(description="`searchable`: respond when searches see the change.")]

    @app.post("/v1/documents:batch", tags=["documents"])
    async def put_batch(
        body: DocumentBatch, principal: writer, idempotency_key: key_header = "", wait_for: wait_query = "durable"
    ) -> ChangeResponse:
        """Store documents together: all or none."""
        async with service.admission.slot():
            return await service.documents.put_many(principal, body.documents, idempotency_key, wait_for)

    @app.put("/v1/documents/{document_id:path}", tags=["documents"])
    async def put(
        document_id: DocumentId,
        body: DocumentBody,
        principal: writer,
        idempotency_key: key_header = "",
        wait_for: wait_query = "durable",
    ) -> ChangeResponse:
        """Store a document under an id, replacing what was there. Durable when this responds."""
        async with service.admission.slot():
            document = with_id(document_id, body)
            return await service.documents.put(principal, document, idempotency_key, wait_for)

    @app.get("/v1/documents/{document_id:path}", tags=["documents"])
    async def get(document_id: DocumentId, principal: reader) -> DocumentResponse:
        """A document as it is stored."""
        return await service.documents.get(principal, document_id)

    @app.delete("/v1/documents/{document_id:path}", tags=["documents"])
    async def delete(document_id: DocumentId, principal: writer, wait_for: wait_query = "durable") -> ChangeResponse:
        """Delete a document. Durable when this responds."""
        async with service.admission.slot():
            return await service.documents.delete(principal, document_id, wait_for)


def _add_rollout(app: FastAPI, service: Service) -> None:
    admin = Annotated[Principal, Depends(service.callers.with_scope("admin"))]
    rollouts = service.rollouts

    @app.get("/v1/rollout", tags=["rollout"])
    async def show(principal: admin) -> RolloutReply:
        """Who gets which release, and how each stands on the replica that responds."""
        return await rollouts.show()

    @app.post("/v1/rollout", tags=["rollout"])
    async def change(request: RolloutChange, principal: admin) -> RolloutReply:
        """Begin, adjust or stop a trial, or retire the previous release. 409 when the version is another now."""
        return await rollouts.change(principal, request)

    @app.post("/v1/releases/{release_id}:promote", tags=["rollout"])
    async def promote(release_id: ReleaseId, request: Switch, principal: admin) -> RolloutReply:
        """Make a release stable. Replicas take it when it is ready there, and keep the one before warm."""
        return await rollouts.promote(principal, release_id, request)

    @app.post("/v1/rollback", tags=["rollout"])
    async def rollback(request: Switch, principal: admin) -> RolloutReply:
        """Go back to the previous release, which is warm, within about a second."""
        return await rollouts.rollback(principal, request)

    @app.get("/v1/rollout/history", tags=["rollout"])
    async def history(principal: admin, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> HistoryReply:
        """Changes of the rollout, the newest first: what, by whom, why."""
        return await rollouts.history(limit)


def _add_operation(app: FastAPI, service: Service) -> None:
    reader = Annotated[Principal, Depends(service.callers.with_scope("search"))]
    admin = Annotated[Principal, Depends(service.callers.with_scope("admin"))]

    @app.get("/v1/releases", tags=["operation"])
    async def releases(principal: reader) -> ReleasesResponse:
        """All releases, newest first, and which of them is stable."""
        return await service.releases()

    @app.get("/v1/status", tags=["operation"])
    async def status(principal: admin) -> dict[str, Any]:
        """What runs, how far the index is, and what troubles it."""
        return await service.status(principal)

    @app.get("/healthz", tags=["operation"], response_class=PlainTextResponse)
    async def healthz() -> str:
        """This replica is alive."""
        return "ok"

    @app.get("/readyz", tags=["operation"], response_model=Readiness)
    async def readyz() -> Response | Readiness:
        """200 when a release is in service and all its shards answer; else 503 and what is missing."""
        state = Readiness.model_validate(await service.readiness())
        if state.ready:
            return state
        waits = ", ".join(state.waiting_for) or "a release"
        advice = "Wait; `kaizen status` says more."
        return problems.problem(503, "not-ready", f"Not ready: it waits for {waits}.", advice, 1, **state.model_dump())

    @app.get("/metrics", tags=["operation"], response_class=PlainTextResponse)
    async def metrics(principal: admin) -> str:
        """Prometheus text of all replicas on all nodes."""
        return await service.exposition.text()
