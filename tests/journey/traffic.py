"""Real traffic while something breaks, and its history, which is checked afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.product import Product, eventually

CLIENTS = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request went. `at` is when it was sent (time.monotonic); status 0: no answer even to the second try."""

    at: float
    seconds: float
    status: int
    first_status: int
    coverage: float = 1.0
    degraded: tuple[str, ...] = ()


@dataclass(slots=True)
class History:
    """Replies of all clients in the order in which they came, and the writes that were acknowledged."""

    replies: list[Reply] = field(default_factory=list)

    def failed(self) -> list[Reply]:
        """Requests that did not succeed although the client tried twice."""
        return [reply for reply in self.replies if reply.status != 200]

    def partial(self) -> list[Reply]:
        """Responses that lacked a shard."""
        return [reply for reply in self.replies if reply.status == 200 and reply.coverage < 1]

    def wait_for_more(self, replies: int) -> None:
        """Wait until so many more have come."""
        enough = len(self.replies) + replies
        eventually(lambda: len(self.replies) >= enough, 90, "more traffic")

    def check(self) -> None:
        """Nobody saw an error, and nothing partial went unsaid."""
        assert len(self.replies) > 20, "too little traffic to tell anything"
        assert self.failed() == []
        assert [r for r in self.partial() if "shard-unavailable" not in r.degraded] == []

    def recovery_seconds(self, since: float) -> float:
        """From `since` to the last partial response; 0 when there was none."""
        return max((reply.at + reply.seconds - since for reply in self.partial()), default=0.0)


@contextmanager
def traffic(product: Product, client: httpx.Client, query: str, **fields: object) -> Iterator[History]:
    """Search all the time from a few threads; each request is tried once more when it fails."""
    history, ended = History(), threading.Event()
    body = {"query": query, "timeout_seconds": 5, **fields}

    def search() -> None:
        with httpx.Client(base_url=product.state.url, headers=client.headers, timeout=30, trust_env=False) as own:
            while not ended.is_set():
                history.replies.append(_ask(own, body))
                ended.wait(0.02)

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(search) for _ in range(CLIENTS)]
        try:
            eventually(lambda: len(history.replies) >= 10, 60, "traffic flows")
            yield history
        finally:
            ended.set()
        for one in running:
            one.result()


def _ask(client: httpx.Client, body: dict[str, Any]) -> Reply:
    started = time.monotonic()
    first, answer = _try(client, body)
    last = first
    if first != 200:
        last, answer = _try(client, body)
    seconds = time.monotonic() - started
    if last != 200:
        return Reply(started, seconds, last, first)
    return Reply(started, seconds, last, first, answer["coverage"], tuple(answer["degraded"]))


def _try(client: httpx.Client, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    try:
        response = client.post("/v1/search", json=body)
    except httpx.TransportError:
        return 0, {}
    return response.status_code, response.json() if response.status_code == 200 else {}
