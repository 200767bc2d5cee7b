"""A Chroma server, and a FastAPI process that embeds in Chroma's client."""

from __future__ import annotations

from bench.peers.peer import ServerPeer
from cluster.ingress import free_ports


class Chroma(ServerPeer):
    """HNSW with Chroma's defaults, on the disk; vectors are given to it by its client's `add`."""

    name = "Chroma"
    script = "chroma_app.py"

    def command(self) -> list[str]:
        return [*super().command(), "--chroma-port", str(free_ports(1)[0])]
