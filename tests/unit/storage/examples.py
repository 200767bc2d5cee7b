"""Documents, impressions and feedback to test with."""

from __future__ import annotations

from collections.abc import Mapping

from kaizen.records import Document, Feedback, FeedbackKind, Impression, MetadataValue, ShownChunk

TENANT = "acme"


def document(
    name: str, text: str = "Some text.", *, source: str = "", metadata: Mapping[str, MetadataValue] | None = None
) -> Document:
    return Document(tenant=TENANT, id=name, title="Title", text=text, metadata=metadata or {}, source=source)


def impression(name: str = "imp_1", *, tenant: str = TENANT, query: str = "why") -> Impression:
    return Impression(
        id=name,
        at=1.5,
        tenant=tenant,
        key_id="k1",
        release="r1-00000000",
        index_seq=3,
        kind="search",
        query=query,
        mode="hybrid",
        shown=(
            ShownChunk(chunk_id="a#0", document_id="a", position=1, score=0.5, dense=0.4, lexical=None, propensity=1.0),
        ),
        answer=None,
        coverage=1.0,
        degraded=("generator-slow",),
        timings_ms={"embed": 2.5},
    )


def feedback(
    name: str = "fb_1",
    *,
    impression_id: str = "imp_1",
    tenant: str = TENANT,
    kind: FeedbackKind = "thumb",
    value: float | None = 1.0,
    chunk_id: str = "a#0",
    text: str = "",
    key: str = "",
) -> Feedback:
    return Feedback(
        id=name,
        at=2.5,
        tenant=tenant,
        impression_id=impression_id,
        kind=kind,
        chunk_id=chunk_id,
        value=value,
        text=text,
        identity="k1",
        idempotency_key=key,
    )
