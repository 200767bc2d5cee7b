"""`/metrics` waits for Ray in a thread of its own, and no longer than a moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ray.exceptions import RayError

from kaizen.errors import Unavailable
from serve_apps import exposition
from serve_apps.exposition import Exposition

PAGE = b"# HELP ray_kaizen_x a\nray_kaizen_x 1.0\nray_serve_y 2.0\nray_object_store_z 3.0\n"
KEPT = "# HELP kaizen_x a\nkaizen_x 1.0\nray_serve_y 2.0\n"


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def nodes() -> Iterator[list[dict[str, Any]]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        node = {"NodeManagerAddress": "127.0.0.1", "MetricsExportPort": server.server_port, "Alive": True}
        yield [node, {**node, "Alive": False}]
        server.shutdown()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, Ray says nothing."""
    monkeypatch.setattr(exposition, "RAY_SECONDS", 0.3)
    yield (back := threading.Event())
    back.set()


def test_nodes_are_known_from_before_while_ray_says_nothing(nodes: list[dict[str, Any]], away: threading.Event) -> None:
    asked: list[int] = []

    def says() -> Sequence[dict[str, Any]]:
        asked.append(1)
        if len(asked) == 2:
            assert away.wait(10)
        if len(asked) == 3:
            raise RayError("The head is away.")
        return nodes

    async def run() -> None:
        page, turns = Exposition(says), 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        at_work = asyncio.create_task(others())
        assert await page.text() == KEPT
        turns = 0
        assert list(await asyncio.gather(page.text(), page.text())) == [KEPT, KEPT]
        assert (turns > 5, len(asked)) == (True, 2)
        away.set()
        assert [await page.text() for _ in range(3)] == [KEPT] * 3
        assert len(asked) > 3
        at_work.cancel()

    asyncio.run(run())


def _fails() -> Sequence[dict[str, Any]]:
    raise RayError("The head is away.")


@pytest.mark.parametrize("silent", [True, False])
def test_before_ray_has_said_anything_there_is_nothing_to_tell(silent: bool, away: threading.Event) -> None:
    says: Callable[[], Any] = (lambda: away.wait(10)) if silent else _fails
    with pytest.raises(Unavailable, match="does not say which nodes"):
        asyncio.run(Exposition(says).text())
