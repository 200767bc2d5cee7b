"""The gate: a crowd that comes while a rush lasts is refused before anything of it is read."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from unittest.mock import Mock

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_apps.admission import FEW, Admission
from serve_apps.gate import SEARCH, Gate
from serve_apps.metrics import Metrics

RETRY_AFTER = 3


class Behind:
    """An application behind two gates, as it is in an installation, that searches when it has read what was asked."""

    def __init__(self) -> None:
        self.admission = Admission(ongoing=64, queued=64)
        self.metrics = Mock(spec=Metrics)
        gate = Gate(self.admission, RETRY_AFTER, self.metrics)
        self.app: ASGIApp = gate.around(gate.around(self._app))
        self.read = 0
        self.go = asyncio.Event()

    async def _app(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.read += 1
        await asyncio.sleep(0)  # the body comes, its caller is looked up
        if scope["path"] == SEARCH and scope["method"] == "POST":
            async with self.admission.slot(search=True):
                await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def status(self, path: str = SEARCH, method: str = "POST") -> int:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "path": path, "method": method}
        await self.app(scope, Mock(), send)
        if sent[0]["status"] == 429:
            assert (b"retry-after", str(RETRY_AFTER).encode()) in sent[0]["headers"]
        return int(sent[0]["status"])

    async def crowd(self, requests: int) -> Counter[int]:
        """So many in one turn of the loop; how each fared."""
        coming = [asyncio.create_task(self.status()) for _ in range(requests)]
        for _ in range(3):
            await asyncio.sleep(0)
        self.go.set()
        return Counter(await asyncio.gather(*coming))


def test_a_crowd_in_calm_comes_in() -> None:
    async def run() -> Counter[int]:
        return await Behind().crowd(50)

    assert asyncio.run(run()) == {200: 50}


def test_in_a_rush_no_more_are_read_than_may_be_at_work() -> None:
    """They come in one turn of the loop: none of them has a slot yet when the last one knocks."""

    async def run() -> tuple[Counter[int], int, int]:
        behind = Behind()
        behind.admission._pace.refused(behind.admission._clock())
        fared = await behind.crowd(50)
        return fared, behind.read, behind.metrics.refusal.call_count

    fared, read, counted = asyncio.run(run())
    assert fared == {200: FEW, 429: 50 - FEW}
    assert read == FEW
    assert counted == 50 - FEW


def test_who_never_came_to_a_slot_is_not_counted_for_ever() -> None:
    """A request that is refused for what it is, and one whose caller went away."""

    async def run() -> int:
        behind = Behind()
        behind.admission._pace.refused(behind.admission._clock())
        for _ in range(5):
            assert await behind.status(method="GET") == 200
            gone = asyncio.create_task(behind.status())
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        return (await behind.crowd(50))[200]

    assert asyncio.run(run()) == FEW


def test_other_paths_have_no_gate() -> None:
    async def run() -> tuple[int, int]:
        behind = Behind()
        behind.admission._pace.refused(behind.admission._clock())
        behind.admission._searches = 64
        return await behind.status("/v1/status"), await behind.status()

    assert asyncio.run(run()) == (200, 429)
