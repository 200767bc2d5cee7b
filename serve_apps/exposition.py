"""What `/metrics` says: Prometheus text of all nodes of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import ray
from ray.exceptions import RayError

from kaizen.base_url import base_url
from kaizen.errors import Unavailable
from kaizen.single_flight import SingleFlight

RAY_SECONDS = 2.0  # Ray itself waits long for a head that is away
NODE_SECONDS = 2.0
_OURS = "ray_kaizen_"
_SERVES = "ray_serve_"


class Exposition:
    """Belongs to one event loop, which it does not hold up.

    nodes: what Ray says of its nodes; blocks.
    """

    def __init__(self, nodes: Callable[[], Sequence[Mapping[str, Any]]] = ray.nodes) -> None:
        self._nodes = nodes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nodes")
        self._asking: SingleFlight[str, list[str]] = SingleFlight()
        self._known: list[str] = []

    async def text(self) -> str:
        """Kaizen's own metrics and Serve's. Nodes that do not answer are left out.

        Raises:
            Unavailable: Ray has never yet said which nodes there are.
        """
        pages = await self._pages()
        if not pages:
            raise Unavailable("Ray does not say which nodes there are.", advice="Try again; see `kaizen status`.")
        async with httpx.AsyncClient(timeout=NODE_SECONDS) as client:
            read = await asyncio.gather(*(client.get(page) for page in pages), return_exceptions=True)
        texts = [page.text for page in read if isinstance(page, httpx.Response)]
        return "\n".join(line for text in texts for line in _kept(text)) + "\n"

    async def _pages(self) -> list[str]:
        """Where the nodes tell their metrics; where they did, when Ray does not answer."""
        with suppress(TimeoutError, RayError):
            async with asyncio.timeout(RAY_SECONDS):
                self._known = await self._asking.answer("nodes", self._ask)
        return self._known

    async def _ask(self) -> list[str]:
        nodes = await asyncio.get_running_loop().run_in_executor(self._thread, self._nodes)
        alive = [node for node in nodes if node["Alive"]]
        return [f"{base_url(node['NodeManagerAddress'], node['MetricsExportPort'])}/metrics" for node in alive]


def _kept(text: str) -> Iterable[str]:
    for line in text.splitlines():
        name = line.split(" ")[2] if line.startswith("# ") and line.count(" ") >= 2 else line
        if name.startswith((_OURS, _SERVES)):
            yield line.replace(_OURS, "kaizen_")
