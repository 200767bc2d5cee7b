"""A query's path through one release: embed, ask the shards, rank."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actors.fan_out import Answer, Gathered, abandon
from kaizen.errors import BadModel, NotYetSearchable, Unavailable
from kaizen.records import WAIT, FieldType, Principal
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.filters import Filter, check, fields
from kaizen.retrieval.fusion import Mode
from kaizen.retrieval.query import ShardQuery, vector_bytes
from kaizen.retrieval.ranked import FinalAnswer, Ranked
from kaizen.retrieval.ranking import Unit, depth_after, depth_needed, final_places, is_all, rank, texts_needed
from kaizen.retrieval.segment import BUILT_IN_FIELDS
from kaizen.storage.ledger import Ledger
from serve_apps.field_types import FieldTypes
from serve_apps.places import Found, Place
from serve_apps.query_batches import QueryBatches
from serve_apps.served import Served
from serve_apps.stopwatch import Stopwatch


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


# What a release is asked, of its own settings: another one that answers in its place is asked by those of its own.
QueryFor = Callable[[Served], Query]


class Searcher:
    """Searches under whatever release it is handed. One per replica; belongs to its event loop."""

    def __init__(self, ledger: Ledger, batches: QueryBatches) -> None:
        self._types = FieldTypes(ledger)
        self._analyser = Analyser()
        self._batches = batches

    async def search(self, served: Served, principal: Principal, query: Query, watch: Stopwatch) -> Found:
        """Search the release's index for what `principal` may see.

        Raises:
            UnknownField, InvalidInput: the filter names what is not there.
            NotYetSearchable: a shard did not reach `min_seq` in time.
        """
        types = await self._checked_types(query.condition, principal.tenant)
        asked, gathered = await self._ask(served, query, _shard_query(served, principal, query, types), watch)
        if gathered.behind:
            raise NotYetSearchable(
                f"The index has not reached {query.min_seq} yet.", advice="Try again, or allow more time."
            )
        looked = await self._look(served, query, asked, gathered, watch)
        if looked.whole < 1 and time.monotonic() < query.deadline:
            again = await self._look_again(served, query, asked, watch)
            looked = max(looked, again, key=lambda one: one.coverage)
        degraded = ("embedder-unavailable",) if asked.mode != query.mode else ()
        if looked.coverage < 1 or looked.late:
            degraded = (*degraded, "shard-unavailable")
        name, words, answers = served.release.id, tuple(asked.words), looked.gathered.answers.values()
        return Found(
            places=tuple(Place(item=item, terms=words, release=name) for item in looked.ranked),
            index_seq=min((answer.seq for answer in answers), default=0),
            coverage=looked.coverage,
            degraded=degraded,
            used={name: _used(served, asked.mode, answers)},
        )

    async def _ask(
        self, served: Served, query: Query, asked: ShardQuery, watch: Stopwatch
    ) -> tuple[ShardQuery, Gathered]:
        """The query as the shards answered it, and their answers."""
        if query.mode == "hybrid":
            return await self._ask_ahead(served, query, asked, watch)
        with watch.stage("embed"):
            asked = asked.with_vector(await self._embed(served, query))
        if asked.mode == "lexical":
            asked = replace(asked, terms=tuple(self._analyser(query.text)))
        return asked, await _gather(served, query, asked, watch)

    async def _ask_ahead(
        self, served: Served, query: Query, asked: ShardQuery, watch: Stopwatch
    ) -> tuple[ShardQuery, Gathered]:
        """As `_ask`, but the shards look the words up while the vector is made: it follows."""
        asked = replace(asked, terms=tuple(self._analyser(query.text)))
        rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        search = served.fan_out.search(asked, min_seq=query.min_seq, deadline=query.deadline, rest=rest)
        answers, began = asyncio.ensure_future(search), time.monotonic()
        try:
            with watch.stage("embed"):
                vector = await self._embed(served, query)
            rest.set_result(vector)
            asked, ahead = asked.with_vector(vector), time.monotonic() - began
            with watch.stage("shards"):
                gathered = await answers
            watch.part(WAIT, gathered.waited_s - ahead, of="shards")
            return asked, gathered
        except BaseException:
            abandon({answers})
            raise

    async def _look(
        self, served: Served, query: Query, asked: ShardQuery, gathered: Gathered, watch: Stopwatch
    ) -> _Looked:
        gathered, ranked, late = await self._rank(served, query, asked, gathered, watch)
        with watch.stage("rank"):
            found = await _with_texts(served, gathered, ranked, query.deadline)
        whole = len(found) / len(ranked) if ranked else 1.0
        return _Looked(gathered=gathered, ranked=found, whole=whole, late=late)

    async def _look_again(self, served: Served, query: Query, asked: ShardQuery, watch: Stopwatch) -> _Looked:
        """A copy went between its answer and the fetching of texts, or let go of them: ask whoever is there now."""
        gathered = await _gather(served, query, asked, watch)
        return await self._look(served, query, asked, gathered, watch)

    async def _rank(
        self, served: Served, query: Query, asked: ShardQuery, gathered: Gathered, watch: Stopwatch
    ) -> tuple[Gathered, list[Ranked], bool]:
        """The best of what was gathered, asking for more where it is of too few documents; and whether time was over
        before: then what was found stays."""
        while True:
            with watch.stage("rank"):
                ranked = _ranked(served, query, asked, gathered)
            if query.unit != "document" or len(ranked) >= query.k or is_all(gathered.answers, asked.depth):
                return gathered, ranked, False
            depth = depth_after(asked.depth, words=len(asked.words))
            if depth <= asked.depth:
                return gathered, ranked, False
            asked = replace(asked, depth=depth)
            deeper = await _gather(served, query, asked, watch)
            if deeper.coverage < gathered.coverage:
                return gathered, ranked, True
            gathered = deeper

    async def _checked_types(self, condition: Filter | None, tenant: str) -> Mapping[str, FieldType]:
        if condition is None:
            return {}
        wanted = fields(condition)
        types = await self._types.of(tenant, wanted - set(BUILT_IN_FIELDS))
        known = {**types, **BUILT_IN_FIELDS}
        check(condition, known)
        return {name: known[name] for name in wanted}

    async def _embed(self, served: Served, query: Query) -> bytes:
        """The query's vector as it travels; none when there is none to be had: words alone must do then, and the
        response says so."""
        if query.mode == "lexical":
            return b""
        left = query.deadline - time.monotonic()
        if left <= 0:
            return b""
        try:
            async with asyncio.timeout(left):
                return vector_bytes(await self._batches.embed(served.queries, query.text))
        except (BadModel, Unavailable, TimeoutError):
            return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What the shards gave for a query: its places, each with its text, and what they lack.

    whole: share of the places whose text came, of 1. late: time was over before enough documents were found.
    """

    gathered: Gathered
    ranked: list[Ranked]
    whole: float
    late: bool

    @property
    def coverage(self) -> float:
        """Share of the shards that answered, and of the places that they gave."""
        return self.gathered.coverage * self.whole


async def _gather(served: Served, query: Query, asked: ShardQuery, watch: Stopwatch) -> Gathered:
    with watch.stage("shards"):
        gathered = await served.fan_out.search(asked, min_seq=query.min_seq, deadline=query.deadline)
    watch.part(WAIT, gathered.waited_s, of="shards")
    return gathered


def _shard_query(served: Served, principal: Principal, query: Query, types: Mapping[str, FieldType]) -> ShardQuery:
    """Without vector and terms, which are still to be made."""
    reranked = served.ranker is not None and query.mode == "hybrid"
    final = final_places(query.k, unit=query.unit, shards=served.index.shards, reranked=reranked)
    return ShardQuery(
        mode=query.mode,
        vector=None,
        terms=(),
        principal=principal,
        condition=query.condition,
        types=types,
        settings=served.retrieval,
        depth=depth_needed(query.k, unit=query.unit, settings=served.retrieval),
        texts=0 if final else texts_needed(query.k),
        final=final,
    )


def _ranked(served: Served, query: Query, asked: ShardQuery, gathered: Gathered) -> list[Ranked]:
    if asked.final:  # the index's only shard has ranked
        final = (answer for answer in gathered.answers.values() if isinstance(answer, FinalAnswer))
        return [item for answer in final for item in answer.ranked]
    return rank(
        gathered.answers,
        mode=asked.mode,
        unit=query.unit,
        k=query.k,
        settings=served.retrieval,
        ranker=served.ranker,
    )


async def _with_texts(served: Served, gathered: Gathered, ranked: list[Ranked], deadline: float) -> list[Ranked]:
    """Fetch the few texts that did not travel with the shards' answers. A place whose text is gone is left out, which
    who asks must tell."""
    missing: dict[int, list[Ranked]] = {}
    for item in ranked:
        if item.text is None:
            missing.setdefault(item.shard, []).append(item)
    if not missing:
        return ranked
    texts: dict[tuple[int, int], dict[str, Any]] = {}
    fetched = await asyncio.gather(
        *(
            served.fan_out.fetch(
                shard, [(item.segment, item.row) for item in items], deadline, copy=gathered.copies[shard]
            )
            for shard, items in missing.items()
        )
    )
    for (shard, items), rows in zip(missing.items(), fetched, strict=True):
        texts |= {(shard, item.number): row for item, row in zip(items, rows, strict=False)}
    filled = (i if i.text else i._replace(text=texts.get((i.shard, i.number))) for i in ranked)
    return [item for item in filled if item.text is not None]


def _used(served: Served, mode: Mode, answers: Iterable[Answer]) -> dict[str, str]:
    """Stage -> fingerprint of what worked on this search."""
    stages = ["retrieval"]
    if mode != "lexical":
        stages.append("query_encoder")
    if mode == "hybrid" and served.ranker is not None:
        stages.append("ranker")
    used = {stage: served.opened[stage] for stage in stages}
    if indices := {answer.index for answer in answers}:
        used["index"] = "+".join(sorted(indices))
    return used
