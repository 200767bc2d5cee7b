"""A real HTTP server that speaks OpenAI's chat completions protocol: it streams what the prompt says, by words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "parrot-1"
KEY = "sesame"
HELD_SECONDS = 60.0
SENTENCE = "The lighthouse is 43 metres high."


class Endpoint(ThreadingHTTPServer):
    """Knows what it was asked; `url` is what generator.endpoint_url wants. It answers while `open` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Chat)
        self.requests: list[dict[str, Any]] = []
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Chat(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer /v1/chat/completions."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or request["model"] != MODEL:
            self.send_error(404)
            return
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.send_error(401)
            return
        self.server.requests.append(request)
        self.server.open.wait(HELD_SECONDS)
        known = any(SENTENCE in message["content"] for message in request["messages"])
        words = (SENTENCE if known else "Not in the documents.").split(" ")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, word in enumerate(words):
            delta = {"content": word if number == 0 else f" {word}"}
            event = {"object": "chat.completion.chunk", "model": MODEL, "choices": [{"index": 0, "delta": delta}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # the name is the base class's
        """Say nothing."""


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """A running endpoint, closed at the end if it is not yet."""
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
