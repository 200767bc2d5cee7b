"""A query's path through the gateway: embed, ask the shards, rank, log what was shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from kaizen.errors import BadModel, KaizenError, NotYetSearchable, Unavailable
from kaizen.ids import chunk_id, new_id
from kaizen.records import FieldType, Impression, Principal, ShownChunk
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.filters import Filter, check, fields
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardQuery
from kaizen.retrieval.ranking import Ranked, Unit, rank
from kaizen.retrieval.segment import BUILT_IN_FIELDS
from kaizen.storage.ledger import Ledger
from serve_apps.field_types import FieldTypes
from serve_apps.served import Served
from serve_apps.stopwatch import Stopwatch

# Documents have several chunks: to fill k documents, more than k candidates are needed.
CANDIDATES_PER_DOCUMENT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search as it was asked for, checked."""

    text: str
    mode: Mode
    unit: Unit
    k: int
    condition: Filter | None
    min_seq: int
    deadline: float  # of time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Ranked chunks, each with its row (chunk_table.SCHEMA names), and what the response must say of itself."""

    ranked: tuple[Ranked, ...]
    terms: tuple[str, ...]
    index_seq: int
    coverage: float
    degraded: tuple[str, ...]


class Searcher:
    """Searches under whatever release it is handed. One per replica; belongs to its event loop."""

    def __init__(self, ledger: Ledger, embedding_threads: int) -> None:
        self._ledger = ledger
        self._types = FieldTypes(ledger)
        self._analyser = Analyser()
        self._embedding = ThreadPoolExecutor(embedding_threads, thread_name_prefix="embed")

    async def search(self, served: Served, principal: Principal, query: Query, watch: Stopwatch) -> Found:
        """Search the release's index for what `principal` may see.

        Raises:
            UnknownField, InvalidInput: the filter names what is not there.
            NotYetSearchable: a shard did not reach `min_seq` in time.
        """
        types = await self._checked_types(query.condition, principal.tenant)
        with watch.stage("embed"):
            vector, mode, degraded = await self._embed(served, query)
        terms = tuple(self._analyser(query.text)) if mode != "dense" else ()
        asked = ShardQuery(
            mode=mode,
            vector=vector,
            terms=terms,
            principal=principal,
            condition=query.condition,
            types=types,
            settings=served.retrieval,
            depth=max(served.retrieval.depth, query.k * (CANDIDATES_PER_DOCUMENT if query.unit == "document" else 1)),
            texts=query.k,
        )
        with watch.stage("shards"):
            gathered = await served.fan_out.search(asked, min_seq=query.min_seq, deadline=query.deadline)
        if gathered.behind:
            raise NotYetSearchable(
                f"The index has not reached {query.min_seq} yet.", advice="Try again, or allow more time."
            )
        with watch.stage("rank"):
            ranked = rank(gathered.answers, mode=mode, unit=query.unit, k=query.k, settings=served.retrieval)
            ranked = await _with_texts(served, ranked, query.deadline)
        if gathered.coverage < 1:
            degraded = (*degraded, "shard-unavailable")
        seqs = [answer.seq for answer in gathered.answers.values()]
        return Found(
            ranked=tuple(ranked),
            terms=terms,
            index_seq=min(seqs, default=0),
            coverage=gathered.coverage,
            degraded=degraded,
        )

    async def log(
        self,
        served: Served,
        principal: Principal,
        query: Query,
        found: Found,
        watch: Stopwatch,
        *,
        kind: Literal["search", "answer"],
        answer: str | None = None,
    ) -> tuple[str, tuple[str, ...]]:
        """Record what was shown, durably. Returns its id and, when the ledger cannot take it, that the response is
        degraded: reading goes on when the disk is full, and then nobody can judge what was shown."""
        impression = Impression(
            id=new_id("imp"),
            at=time.time(),
            tenant=principal.tenant,
            key_id=principal.key_id,
            release=served.release.id,
            index_seq=found.index_seq,
            kind=kind,
            query=query.text,
            mode=query.mode,
            shown=tuple(_shown(place, item) for place, item in enumerate(found.ranked, start=1)),
            answer=answer,
            coverage=found.coverage,
            degraded=found.degraded,
            timings_ms=watch.timings_ms(),
        )
        try:
            with watch.stage("log"):
                await asyncio.wrap_future(self._ledger.impressions.submit_record(impression))
        except KaizenError:
            return impression.id, ("impression-not-recorded",)
        return impression.id, ()

    async def _checked_types(self, condition: Filter | None, tenant: str) -> Mapping[str, FieldType]:
        if condition is None:
            return {}
        wanted = fields(condition)
        types = await self._types.of(tenant, wanted - set(BUILT_IN_FIELDS))
        known = {**types, **BUILT_IN_FIELDS}
        check(condition, known)
        return {name: known[name] for name in wanted}

    async def _embed(self, served: Served, query: Query) -> tuple[np.ndarray, Mode, tuple[str, ...]]:
        """The query's vector; when there is none to be had, words alone must do, and the response says so."""
        if query.mode == "lexical":
            return np.zeros(served.index.dim, np.float32), "lexical", ()
        left = max(0.0, query.deadline - time.monotonic())
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self._embedding, served.queries.embed_query, query.text)
            return await asyncio.wait_for(work, left), query.mode, ()
        except (BadModel, Unavailable, TimeoutError):
            return np.zeros(served.index.dim, np.float32), "lexical", ("embedder-unavailable",)


async def _with_texts(served: Served, ranked: list[Ranked], deadline: float) -> list[Ranked]:
    """Fetch the few texts that did not travel with the shards' answers; a hit whose text is gone is left out."""
    missing: dict[int, list[Ranked]] = {}
    for item in ranked:
        if item.text is None:
            missing.setdefault(item.shard, []).append(item)
    if not missing:
        return ranked
    texts: dict[tuple[int, int], dict[str, Any]] = {}
    for shard, items in missing.items():
        rows = await served.fan_out.fetch(shard, [(i.segment, i.row) for i in items], deadline)
        texts |= {(shard, item.number): row for item, row in zip(items, rows, strict=False)}
    filled = (i if i.text else replace(i, text=texts.get((i.shard, i.number))) for i in ranked)
    return [item for item in filled if item.text is not None]


def _shown(position: int, item: Ranked) -> ShownChunk:
    row = item.text or {}
    return ShownChunk(
        chunk_id=chunk_id(row["document_id"], row["ordinal"]),
        document_id=row["document_id"],
        position=position,
        score=item.score,
        dense=item.cosine,
        lexical=item.bm25,
        propensity=1.0,
    )
