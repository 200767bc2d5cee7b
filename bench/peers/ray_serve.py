"""Ray Serve in front of a vector store, as in Ray's example of retrieval."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.peers.peer import ServerPeer


class RayServe(ServerPeer):
    """HNSW with Chroma's defaults in a replica, on the disk; vectors are given to it by Chroma's `add`."""

    name = "Ray Serve"
    script = "ray_app.py"

    def ingest(self, texts: Sequence[str]) -> float:
        """One Ray Data pipeline over all; the start of its actor, which loads the model, is part of it."""
        started = time.perf_counter()
        self.post("/ingest", {"ids": [str(n) for n in range(len(texts))], "texts": list(texts)})
        self.expect(len(texts))
        return time.perf_counter() - started
