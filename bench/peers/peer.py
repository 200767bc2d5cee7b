"""A system that is compared: started, filled, asked over HTTP, ended."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import psutil

from bench.http_load import Target
from bench.peers import environment
from bench.peers.passages import Passages
from cluster.ingress import free_ports
from kaizen.commands.processes import end_tree
from kaizen.errors import Unavailable

START_SECONDS = 180.0
REQUEST_SECONDS = 1800.0  # a whole ingest may be one request
PIECE = 500  # texts in one request of an ingest


class Peer(Protocol):
    """What every system can do here.

    Attributes:
        name: of one or two words, for charts.
    """

    name: str

    def start(self) -> None:
        """Start empty and wait until requests are answered; the model is loaded then."""
        ...

    def load(self, passages: Passages) -> None:
        """Take texts with given vectors, by whatever way the system has for that."""
        ...

    def ingest(self, texts: Sequence[str]) -> float:
        """Take texts by the system's ordinary way; seconds until all of them are found by searches."""
        ...

    @property
    def target(self) -> Target:
        """Where searches go."""
        ...

    def body(self, query: str, k: int) -> Mapping[str, Any]:
        """The JSON of a search."""
        ...

    def ids(self, response: Any) -> list[str]:  # noqa: ANN401 (JSON)
        """Ids of the hits, the best first."""
        ...

    @property
    def pid(self) -> int:
        """The process that all its others descend from."""
        ...

    def stop(self) -> None:
        """End all processes and remove what was written."""
        ...


class ServerPeer:
    """A server in the peers' environment: `command` says how it is started, in a folder that is removed in the end.

    What the servers written for this bench (`servers/`) have in common: POST /search, /ingest and /load, GET /count.
    """

    name = ""
    script = ""
    search_path = "/search"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kaizen-peer-")
        self.folder = Path(self._folder.name)
        self.port = free_ports(1)[0]

    def command(self) -> list[str]:
        """The arguments after the interpreter."""
        script = Path(__file__).parent / "servers" / self.script
        return ["-P", str(script), "--model", str(environment.model()), "--port", str(self.port)]

    def environ(self) -> dict[str, str]:
        """Variables of the server's process."""
        return environment.environ()

    def start(self) -> None:
        self._log = (self.folder / "log").open("w")
        command = [str(environment.python()), *self.command()]
        self._process = subprocess.Popen(  # noqa: S603 (our own list)
            command,
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            process_group=0,
        )
        self._tree = psutil.Process(self._process.pid)
        self.client = httpx.Client(base_url=self.target.url, timeout=REQUEST_SECONDS, trust_env=False)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                trouble = (self.folder / "log").read_text()[-2000:]
                self.stop()
                raise Unavailable(f"{self.name} did not start: {trouble}", advice="Read what it says above.")
            time.sleep(0.2)

    def load(self, passages: Passages) -> None:
        self.post("/load", {"folder": str(self.written(passages))})

    def ingest(self, texts: Sequence[str]) -> float:
        started = time.perf_counter()
        for first in range(0, len(texts), PIECE):
            part = texts[first : first + PIECE]
            self.post("/ingest", {"ids": [str(first + n) for n in range(len(part))], "texts": part})
        self.expect(len(texts))
        return time.perf_counter() - started

    @property
    def target(self) -> Target:
        return Target(url=f"http://127.0.0.1:{self.port}", path=self.search_path, headers={})

    def body(self, query: str, k: int) -> Mapping[str, Any]:
        return {"query": query, "k": k}

    def ids(self, response: Any) -> list[str]:  # noqa: ANN401 (JSON)
        return [hit["id"] for hit in response["hits"]]

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self.end()
        self._folder.cleanup()

    def end(self) -> None:
        """End the processes and keep the folder."""
        end_tree(self._tree, grace_seconds=10)
        self._process.wait()
        self.client.close()
        self._log.close()

    def post(self, path: str, body: Any) -> Any:  # noqa: ANN401 (JSON)
        """The JSON that comes back; raises Unavailable for any other status than 200."""
        response = self.client.post(path, json=body)
        if response.status_code != 200:
            said = f"{self.name} answered {response.status_code}: {response.text[:500]}"
            raise Unavailable(said, advice="Read its log.")
        return response.json()

    def written(self, passages: Passages) -> Path:
        """A folder with `texts.json` and `vectors.npy`."""
        (self.folder / "texts.json").write_text(json.dumps(list(passages.texts)))
        np.save(self.folder / "vectors.npy", passages.vectors)
        return self.folder

    def expect(self, count: int) -> None:
        """Raise Unavailable unless it holds so many texts."""
        found = self.client.get("/count").raise_for_status().json()
        if (found["count"] if isinstance(found, dict) else found) != count:
            raise Unavailable(f"{self.name} holds {found} and not {count} texts.", advice="Read its log.")

    def _answers(self) -> bool:
        try:
            return self.client.get("/count").status_code == 200
        except httpx.TransportError:
            return False
