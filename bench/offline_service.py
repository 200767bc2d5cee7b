"""A search service without a server: the sealed index in this process, its impressions and feedback in the ledger.

Simulated people (`kaizen simulate`) use it as they use the real one. It answers from memory when the same is asked
again, so that ten thousand sessions take seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from kaizen.ids import chunk_id
from kaizen.offline import OfflineIndex, offline_queries, open_query_embedder
from kaizen.records import Feedback, Impression, Release, ShownChunk, identity_of
from kaizen.release import ranker_of, retrieval_of
from kaizen.workspace import Workspace

KEY = "bench"
_DIGITS = 6  # of a logged feature, as the gateway logs it


class OfflineService:
    """Has the methods of `kaizen.commands.client.Client` that a simulation calls. For one thread.

    Attributes:
        impressions: how many it made.
    """

    def __init__(self, workspace: Workspace, release: Release) -> None:
        self._ledger = workspace.ledger
        self._tenant = workspace.settings.workspace.tenant
        self._release = release
        self._settings = retrieval_of(release)
        self._ranker = ranker_of(release, workspace.store)
        self._index = OfflineIndex.open_whole(workspace, release)
        self._embed = open_query_embedder(workspace, release)
        self._found: dict[tuple[str, int], tuple[ShownChunk, ...]] = {}
        self._written: list[Future[Any]] = []
        self.impressions = 0

    def __enter__(self) -> OfflineService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is durable."""
        for written in self._written:
            written.result()
        self._written.clear()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/search or /v1/feedback."""
        return self._search(body) if path == "/v1/search" else self._feedback(body)

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        shown = self._shown(body["query"], body["k"])
        self.impressions += 1
        made = Impression(
            id=f"imp_{self.impressions}", at=time.time(), tenant=self._tenant, key_id=KEY, release=self._release.id,
            index_seq=self._index.seq, kind="search", query=body["query"], mode="hybrid", shown=shown, answer=None,
            coverage=1.0, degraded=(), timings_ms={"total": 1.0}, user=body["user"],
        )  # fmt: skip
        self._written.append(self._ledger.impressions.submit_record(made))
        hits = [{"chunk_id": chunk.chunk_id, "document_id": chunk.document_id} for chunk in shown]
        return {"impression_id": made.id, "release": made.release, "hits": hits}

    def _feedback(self, body: dict[str, Any]) -> dict[str, Any]:
        given = Feedback(
            id=f"fb_{body['idempotency_key']}", at=time.time(), tenant=self._tenant,
            impression_id=body["impression_id"], kind="click", chunk_id=body["chunk_id"], value=1.0, text="",
            identity=identity_of(KEY, body["user"]), idempotency_key=body["idempotency_key"],
        )  # fmt: skip
        self._written.append(self._ledger.feedback.submit_record(given))
        return {}

    def _shown(self, query: str, k: int) -> tuple[ShownChunk, ...]:
        if (query, k) not in self._found:
            self._found[query, k] = tuple(self._ranked(query, k))
        return self._found[query, k]

    def _ranked(self, query: str, k: int) -> Sequence[ShownChunk]:
        (asked,) = offline_queries([(query, self._tenant, ())], self._embed)
        pool = self._index.pool(asked, self._settings)
        found = pool.ranked(self._settings, self._ranker, k=k)
        return [
            ShownChunk(
                chunk_id=chunk_id(*name), document_id=name[0], position=position, score=item.score,
                dense=item.cosine, lexical=item.bm25, propensity=1.0,
                features=tuple(round(value, _DIGITS) for value in item.features),
            )
            for position, (item, name) in enumerate(zip(found, pool.names(found), strict=True), start=1)
        ]  # fmt: skip
