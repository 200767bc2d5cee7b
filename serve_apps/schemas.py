"""Requests and responses of the HTTP API. Unknown fields are refused; every field says what it is, with an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr

from kaizen.body import Body
from kaizen.records import MAX_QUERY_CHARACTERS
from kaizen.retrieval.filters import Filter, FilterExpression, respelt
from kaizen.text.metadata import MAX_FIELDS, MAX_NAME_CHARS, MAX_NUMBER, MAX_VALUE_CHARS
from kaizen.text.normalise import normalise, one_line

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


def _whole(value: object) -> object:
    """JSON knows one kind of number: 5.0 is as good a whole number as 5, and some writers know no other."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _few_fields(value: object) -> object:
    """The bound on a dictionary counts when all of it has been read, with an error for each bad value."""
    if isinstance(value, dict) and len(value) > MAX_FIELDS:
        raise ValueError(f"a document has at most {MAX_FIELDS} fields")
    return value


Whole = BeforeValidator(_whole)  # after the bounds of a field, else the schema lacks them
Number = Annotated[float, Field(strict=True)]  # not "5": the schema says number
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
ShortText = Annotated[StrictStr, Field(max_length=MAX_VALUE_CHARS)]
MetadataItem = (
    ShortText
    | StrictBool
    | Annotated[int, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
    | Annotated[float, Field(strict=True, ge=-MAX_NUMBER, le=MAX_NUMBER)]
    | Annotated[list[ShortText], Field(fail_fast=True)]
)

# By tenant and not by API key: a write that was begun with a key can be sent again with the one that replaced it.
KEYS_OF_A_TENANT = (
    "The same key again, with the same content, changes nothing. All API keys of a tenant share their idempotency "
    "keys, and the same key with other content is a 409: use a UUID."
)
IdempotencyKey = Annotated[str, Field(max_length=255, pattern=r"^[ -~]*$")]
DOCUMENT_ID = {
    "pattern": r"^[^\x00-\x1f\x7f]+$",
    "maxLength": 512,
}  # of `ids.check_document_id`, which says it in words
WITHOUT_NUL = {"pattern": r"^[^\x00]*$"}  # said here, seen to in `documents`, in words


def _as_documents_are(text: str) -> str:
    return normalise(text) or text


# A word that was copied with a soft hyphen, or typed with marks of its own, is the word that documents hold.
Asked = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS), AfterValidator(_as_documents_are)]


def _as_metadata_has(value: str) -> str:
    return one_line(value, MAX_VALUE_CHARS)


def _as_metadata_is(given: Filter) -> Filter:
    return respelt(given, _as_metadata_has)


Condition = Annotated[FilterExpression, AfterValidator(_as_metadata_is)]


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
    query: Asked
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    k: Annotated[int, Field(ge=1, strict=True, description="Results wanted, up to `server.max_k`."), Whole] = 10
    unit: Literal["chunk", "document"] = Field(
        "chunk", description="`document`: at most one hit a document, its best chunk."
    )
    filter: Condition | None = None
    explain: StrictBool = False
    min_seq: Annotated[int, Field(ge=0, strict=True), Whole] = Field(
        0, description="Answer from an index that holds the change with this seq: read your writes."
    )
    timeout_seconds: Annotated[Number, Field(gt=0, le=60)] | None = None
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
    """What every search and every answer says of itself."""

    release: str = Field(description="The release that made this response; see `challenger`.")
    index_seq: int = Field(description="The index held all changes up to this seq.")
    coverage: float = Field(
        description="Share of the shards that answered, and of the hits that they found; below 1 the result is partial."
    )
    degraded: list[str] = Field(description="What was replaced by something simpler, and why.")
    impression_id: str = Field(description="Name this in feedback.")
    timings_ms: dict[str, float] = Field(
        description="By stage, and `total`. `shards`: after `embed`, beside which a hybrid search looks its words up. "
        "`wait`: until the index held `min_seq`; releases are judged by what is left."
    )
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
    question: Asked
    k: Annotated[int, Field(ge=1, le=32, strict=True), Whole] | None = Field(
        None, description="Chunks to answer from; default `answering.chunks`."
    )
    filter: Condition | None = None
    stream: StrictBool = Field(
        False, description="Server-sent events: `delta`, then one `final` with the whole answer."
    )
    min_seq: Annotated[int, Field(ge=0, strict=True), Whole] = 0
    timeout_seconds: Annotated[Number, Field(gt=0, le=300)] | None = None
    user: User = ""
    explain: StrictBool = Field(False, description="Say which parts of the release made it (`fingerprints`).")


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


class _Judgement(Body):
    """What every judgement on an impression says."""

    impression_id: Annotated[str, Field(min_length=1, max_length=64)]
    chunk_id: Annotated[str, Field(max_length=1024)] = ""
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)] = ""
    idempotency_key: IdempotencyKey = Field("", description=KEYS_OF_A_TENANT)
    user: User = ""


class Click(_Judgement):
    """Somebody opened a hit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"impression_id": "imp_0...", "kind": "click", "chunk_id": "functools.lru_cache#0"}]
        }
    )
    kind: Literal["click"]
    chunk_id: Annotated[str, Field(min_length=1, max_length=1024)]
    value: Annotated[Literal[1] | None, Whole] = None


class Thumb(_Judgement):
    """Up (1) or down (-1)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"impression_id": "imp_0...", "kind": "thumb", "value": 1}]}
    )
    kind: Literal["thumb"]
    value: Annotated[Literal[-1, 1], Whole]


class Rating(_Judgement):
    """From 1 to 5."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"impression_id": "imp_0...", "kind": "rating", "value": 4}]}
    )
    kind: Literal["rating"]
    value: Annotated[Literal[1, 2, 3, 4, 5], Whole]


class _Words(_Judgement):
    value: None = None
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"\S")]


class Comment(_Words):
    """What somebody had to say."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"impression_id": "imp_0...", "kind": "comment", "text": "Rather old."}]}
    )
    kind: Literal["comment"]


class Correction(_Words):
    """What should have been said."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"impression_id": "imp_0...", "kind": "correction", "text": "Closed from 24 December on."}]
        }
    )
    kind: Literal["correction"]


FeedbackRequest = Annotated[
    Click | Thumb | Rating | Comment | Correction,
    Field(discriminator="kind"),
]
"""A judgement on an impression: click, thumb, rating, comment or correction."""


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
    text: Annotated[str, Field(min_length=1, json_schema_extra=WITHOUT_NUL)]
    title: Annotated[str, Field(max_length=4096, json_schema_extra=WITHOUT_NUL)] = ""
    metadata: Annotated[
        dict[Name, MetadataItem],
        Field(
            max_length=MAX_FIELDS,
            description="What can be filtered on. Without `groups`, one that seems to be an access list is refused.",
        ),
        BeforeValidator(_few_fields),
    ] = Field({})
    groups: list[Name] = Field(
        [], fail_fast=True, description="Groups that may see it; empty: everybody of the tenant."
    )


class DocumentWithId(DocumentBody):
    """A document of a batch."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "holidays", "text": "The office is closed on 24 December."}]}
    )
    id: Annotated[str, Field(min_length=1, json_schema_extra=DOCUMENT_ID)]


class DocumentBatch(Body):
    """Documents to be stored together: all or none."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"documents": [{"id": "holidays", "text": "Closed on 24 December."}]}]}
    )
    documents: Annotated[list[DocumentWithId], Field(min_length=1, fail_fast=True)]


class ChangeResponse(Reply):
    """The change is durable; a search with `min_seq` = `seq` will see it."""

    seq: int
    searchable: bool = Field(
        description="True when `wait_for=searchable` was asked for and reached. False also when the embedder has no "
        "usable vector for a document: it is stored, in quarantine, and tried again when it is sent again."
    )


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


class Readiness(Reply):
    """Whether this replica answers, and what it waits for."""

    ready: bool
    release: bool = Field(description="A release is in service here.")
    waiting_for: list[str] = Field(description="Actors that do not serve yet, and the ledger if it takes no writes.")


class Problem(BaseModel):
    """RFC 9457 problem details. `advice` says what to do; some problems have more members."""

    type: str
    title: str
    status: int
    detail: str
    advice: str
    errors: list[dict[str, str]] = []
