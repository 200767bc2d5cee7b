"""Requests and responses of the HTTP API. Unknown fields are refused; every field says what it is, with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from kaizen.records import FeedbackKind
from kaizen.retrieval.filters import FilterExpression

MAX_QUERY_CHARACTERS = 4096
MAX_TEXT_CHARACTERS = 65_536
User = Annotated[
    str,
    Field(
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Pseudonym of your own user for whom you ask; needs the scope `delegate`. It keeps a user on one "
        "side of a rollout, and counts each user's feedback by itself.",
    ),
]
MetadataItem = StrictStr | StrictBool | StrictInt | StrictFloat | list[StrictStr]


class Body(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Reply(BaseModel):
    """Base of every response body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SearchRequest(Body):
    """A query over the caller's documents."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "how do I read a file line by line", "k": 5},
                {"query": "thread pool", "user": "u-4711"},
                {
                    "query": "thread pool",
                    "mode": "hybrid",
                    "filter": {"and": [{"field": "kind", "in": ["class", "function"]}]},
                    "explain": True,
                },
            ]
        }
    )
    query: Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    k: Annotated[int, Field(ge=1, strict=True, description="Results wanted; the server's limit is `server.max_k`.")] = (
        10
    )
    unit: Literal["chunk", "document"] = Field(
        "chunk", description="`document`: at most one hit a document, its best chunk."
    )
    filter: FilterExpression | None = None
    explain: bool = False
    min_seq: Annotated[int, Field(ge=0, strict=True)] = Field(
        0, description="Answer from an index that holds the change with this seq: read your writes."
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] | None = None
    user: User = ""


class Explanation(Reply):
    """Where a score came from."""

    cosine: float | None
    bm25: float | None
    dense_part: float
    lexical_part: float
    matched_terms: dict[str, float] = Field(description="Term of the query -> how often the chunk holds it.")


class Hit(Reply):
    """One ranked chunk."""

    position: int
    chunk_id: str
    document_id: str
    title: str
    text: str
    start: int
    end: int
    score: float
    source: str
    metadata: dict[str, Any]
    release: str | None = Field(None, description="Who drafted it, when the response is of two releases.")
    explain: Explanation | None = None


class Envelope(Reply):
    """What every response about documents says of itself."""

    release: str = Field(description="The release that made this response; see `challenger`.")
    index_seq: int = Field(description="The index held all changes up to this seq.")
    coverage: float = Field(description="Share of the shards that answered; below 1 the result is partial.")
    degraded: list[str] = Field(description="What was replaced by something simpler, and why.")
    impression_id: str = Field(description="Name this in feedback.")
    timings_ms: dict[str, float]
    challenger: str | None = Field(
        None, description="A release on trial that drafted some of the hits; each hit then names its `release`."
    )
    fingerprints: dict[str, dict[str, str]] | None = Field(
        None, description="With `explain`: release -> stage -> fingerprint, from whatever did the work."
    )


class SearchResponse(Envelope):
    """Ranked chunks."""

    hits: list[Hit]


class AnswerRequest(Body):
    """A question to be answered from the caller's documents."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "What does functools.lru_cache do?", "stream": False}]}
    )
    question: Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
    k: Annotated[int, Field(ge=1, le=32, strict=True)] | None = Field(
        None, description="Chunks to answer from; default `answering.chunks`."
    )
    filter: FilterExpression | None = None
    stream: bool = Field(False, description="Server-sent events: `delta`, then one `final` with the whole answer.")
    min_seq: Annotated[int, Field(ge=0, strict=True)] = 0
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] | None = None
    user: User = ""
    explain: bool = Field(False, description="Say which parts of the release made it (`fingerprints`).")


class CitationReply(Reply):
    """A source that the answer names as [number]."""

    number: int
    chunk_id: str
    document_id: str
    title: str
    start: int = Field(description="Where the passage starts in the chunk's text, in characters.")
    end: int
    text: str = Field(description="The passage that bears the answer out.")


class AnswerResponse(Envelope):
    """An answer with its citations, or the honest word that the documents do not hold one."""

    answer: str
    citations: list[CitationReply]
    grounded: bool
    support: float = Field(description="Share of the answer that its sources bear out, by the groundedness check.")
    abstained: bool


class FeedbackRequest(Body):
    """A judgement on an impression: click, thumb (`value` 1 or -1), rating (1 to 5), comment or correction (`text`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"impression_id": "imp_0...", "kind": "click", "chunk_id": "functools.lru_cache#0"}]
        }
    )
    impression_id: Annotated[str, Field(min_length=1, max_length=64)]
    kind: FeedbackKind
    chunk_id: Annotated[str, Field(max_length=1024)] = ""
    value: Annotated[float, Field(ge=-1, le=5)] | None = None
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)] = ""
    idempotency_key: Annotated[str, Field(max_length=256)] = ""
    user: User = ""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> FeedbackRequest:
        needs = {"thumb": (-1, 1), "rating": (1, 2, 3, 4, 5), "click": (None, 1)}
        if self.kind in needs and self.value not in needs[self.kind]:
            raise ValueError(f"the value of a {self.kind} must be one of {[v for v in needs[self.kind] if v]}")
        if self.kind in ("comment", "correction") and not self.text.strip():
            raise ValueError(f"a {self.kind} needs text")
        if self.kind == "click" and not self.chunk_id:
            raise ValueError("a click needs the chunk_id that was clicked")
        return self


class FeedbackResponse(Reply):
    """Feedback is durable. `created` is false when the idempotency key had counted already."""

    feedback_id: str
    created: bool


class DocumentBody(Body):
    """A document without its id."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"title": "Holidays", "text": "The office is closed on 24 December.", "metadata": {"year": 2026}}
            ]
        }
    )
    text: Annotated[str, Field(min_length=1)]
    title: Annotated[str, Field(max_length=4096)] = ""
    metadata: dict[Annotated[str, Field(min_length=1, max_length=256)], MetadataItem] = {}
    groups: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        [], description="Groups that may see it; empty: everybody of the tenant."
    )


class DocumentWithId(DocumentBody):
    """A document of a batch."""

    id: Annotated[str, Field(min_length=1)]


class DocumentBatch(Body):
    """Documents to be stored together: all or none."""

    documents: Annotated[list[DocumentWithId], Field(min_length=1)]


class ChangeResponse(Reply):
    """The change is durable; a search with `min_seq` = `seq` will see it."""

    seq: int
    searchable: bool = Field(description="True when `wait_for=searchable` was asked for and reached.")


class DocumentResponse(Reply):
    """A document as it is stored."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any]
    groups: list[str]
    source: str
    seq: int
    content_sha256: str


class ReleaseReply(Reply):
    """A release, with a fingerprint for each of its parts."""

    id: str
    number: int
    at: float
    fingerprint: str
    parent: str | None
    parts: dict[str, dict[str, Any]]


class ReleasesResponse(Reply):
    """All releases, newest first, and the stable one."""

    stable: str | None
    releases: list[ReleaseReply]


class Problem(Reply):
    """RFC 9457 problem details. `advice` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    advice: str
    errors: list[dict[str, str]] = []
