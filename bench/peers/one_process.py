"""FastAPI, sentence-transformers and FAISS in one process."""

from __future__ import annotations

from bench.peers.peer import ServerPeer


class OneProcess(ServerPeer):
    """A flat index, exact, in memory only; vectors are given to it as a file."""

    name = "FastAPI+FAISS"
    script = "one_process.py"
