"""txtai behind its own API."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.peers import environment
from bench.peers.passages import Passages
from bench.peers.peer import PIECE, ServerPeer
from kaizen.errors import Unavailable


class Txtai(ServerPeer):
    """Its defaults: FAISS (above 5,000 rows IVF, which is not exact) and texts in SQLite.

    Vectors are given to it by an index that a script of txtai's own classes writes beforehand; its API is started
    again on that index.
    """

    name = "txtai"
    search_path = "/batchsearch"

    def command(self) -> list[str]:
        return ["-P", "-m", "uvicorn", "txtai.api:app", "--port", str(self.port), "--log-level", "warning"]

    def environ(self) -> dict[str, str]:
        settings = {
            "path": str(self.folder / "index"),
            "writable": True,
            "embeddings": {"path": str(environment.model()), "content": True},
        }
        config = self.folder / "config.yml"
        config.write_text(json.dumps(settings))  # JSON is YAML
        return {**super().environ(), "CONFIG": str(config)}

    def load(self, passages: Passages) -> None:
        script = Path(__file__).parent / "servers" / "txtai_index.py"
        source, index = str(self.written(passages)), str(self.folder / "index")
        command = [str(environment.python()), "-P", str(script), "--model", str(environment.model())]
        done = subprocess.run(  # noqa: S603 (our own list)
            [*command, "--source", source, "--index", index],
            env=environment.environ(),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unavailable(f"txtai's index was not made: {done.stderr[-2000:]}", advice="Read what it says above.")
        self.end()
        self.start()

    def ingest(self, texts: Sequence[str]) -> float:
        started = time.perf_counter()
        for first in range(0, len(texts), PIECE):
            part = texts[first : first + PIECE]
            self.post("/add", [{"id": str(first + n), "text": text} for n, text in enumerate(part)])
        self.client.get("/index").raise_for_status()
        self.expect(len(texts))
        return time.perf_counter() - started

    def body(self, query: str, k: int) -> Mapping[str, Any]:
        return {"queries": [query], "limit": k}

    def ids(self, response: Any) -> list[str]:  # noqa: ANN401 (JSON)
        return [hit["id"] for hit in response[0]]
