"""Kaizen itself, as an installation with default settings, under the interface of its peers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from bench.http_load import Target
from bench.peers.contender import CONNECTIONS
from bench.peers.passages import Passages
from bench.search_index import USED_SEARCHES, Corpus, use, wait_until_quiet, wait_until_settled
from cluster.throwaway import installation
from kaizen.config import Settings
from kaizen.records import Document
from kaizen.retrieval.fusion import Mode

PATIENCE_SECONDS = 60  # a partial answer must not pass for a fast one


class Kaizen:
    """HAProxy, two gateway replicas, a shard in two copies; keys, durable writes and impressions, as it is shipped.

    Vectors are given to it as batches in its object store and ledger, the way of `jobs.ingest`, without the embedding.

    Attributes:
        mode: of its searches. Its peers do `dense` only.
        sizes: of the shards, after `load`.
        own_seconds: what the last ingest's job says that it took, from its first read to its last durable record.
    """

    name = "Kaizen"
    mode: Mode = "dense"
    sizes: Mapping[str, Mapping[str, int]]
    own_seconds: float

    def start(self) -> None:
        self._running = ExitStack()
        self._installation = self._running.enter_context(installation(Settings()))

    def load(self, passages: Passages) -> None:
        corpus = self.corpus()
        tenant, size = corpus.settings.workspace.tenant, corpus.settings.ingest.batch_chunks
        head = 0
        for first in range(0, len(passages.texts), size):
            part = range(first, min(first + size, len(passages.texts)))
            documents = [Document(tenant=tenant, id=str(n), title="", text=passages.texts[n]) for n in part]
            head = corpus.append(documents, passages.vectors[first : first + len(part)])
        wait_until_settled(self._installation, head)
        bodies = [self.body(text, 1) for text in passages.texts[:USED_SEARCHES]]
        use(self.target, bodies, connections=CONNECTIONS)
        self.sizes = wait_until_quiet(self._installation)

    def ingest(self, texts: Sequence[str]) -> float:
        """`jobs.ingest` from the start of its command until the shards have everything."""
        folder = self._installation.workspace
        source = Path(folder) / "passages.jsonl"
        source.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
        started = time.perf_counter()
        summary = json.loads(self._installation.run("jobs.ingest", str(source), "--json").stdout.splitlines()[-1])
        # A search with min_seq is answered once both shards have everything up to there.
        self._search({**self.body(texts[-1][:200], 1), "min_seq": summary["seq"]})
        spent = time.perf_counter() - started
        self.own_seconds = summary["seconds"]
        return spent

    @property
    def target(self) -> Target:
        url = self._installation.state.url
        return Target(url=url, path="/v1/search", headers=self._installation.headers)

    def body(self, query: str, k: int) -> Mapping[str, Any]:
        return {"query": query, "k": k, "mode": self.mode, "timeout_seconds": PATIENCE_SECONDS}

    def ids(self, response: Any) -> list[str]:  # noqa: ANN401 (JSON)
        return [hit["document_id"] for hit in response["hits"]]

    @property
    def pid(self) -> int:
        return self._installation.state.pid

    def stop(self) -> None:
        self._running.close()

    def _search(self, body: Mapping[str, Any]) -> None:
        url = self.target.url + self.target.path
        httpx.post(
            url, json=body, headers=self.target.headers, timeout=PATIENCE_SECONDS, trust_env=False
        ).raise_for_status()

    def corpus(self) -> Corpus:
        """What it holds, seen from below."""
        return Corpus(self._installation)
