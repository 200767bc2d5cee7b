"""The child side of the sandbox: reads one document after another for its parent, under limits of its own.

Run as `python -m kaizen.text.sandbox_child FD MEMORY_BYTES`; without arguments it only checks that everything that
readers need can be imported.
"""

from __future__ import annotations

import importlib
import io
import json
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from kaizen.errors import KaizenError

_FRAME = struct.Struct("!cI")
_READ = struct.Struct("!QI")
_MOST_READ_BYTES = 2**20
READERS = {
    "html": "kaizen.text.read_html",
    "pdf": "kaizen.text.read_pdf",
    "docx": "kaizen.text.read_docx",
    "parquet": "kaizen.text.read_parquet",
}


class _ParentGone(BaseException):
    """Nobody is left to read for. Not an Exception, so that no parser takes it for its own."""


class _Channel:
    """Frames over the socket to the parent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, kind: bytes, body: bytes = b"") -> None:
        try:
            self._connection.sendall(_FRAME.pack(kind, len(body)) + body)
        except OSError as error:
            raise _ParentGone from error

    def receive(self) -> bytes:
        """Return the body of the next frame."""
        _, length = _FRAME.unpack(self._exactly(_FRAME.size))
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            block = self._connection.recv(length - len(received))
            if not block:
                raise _ParentGone
            received += block
        return bytes(received)


class _ParentFile(io.RawIOBase):
    """The document, read through the parent's hand."""

    def __init__(self, channel: _Channel, size: int) -> None:
        self._channel = channel
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (the base class takes any writable buffer)
        length = min(len(buffer), _MOST_READ_BYTES, max(0, self._size - self._position))
        if not length:
            return 0
        self._channel.send(b"R", _READ.pack(self._position, length))
        block = self._channel.receive()
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)


def serve(connection: socket.socket, memory_bytes: int) -> None:
    """Read documents until the parent is gone."""
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's Ctrl-C is the parent's to handle
    channel = _Channel(connection)
    try:
        channel.send(b"D")
        while True:
            _serve_one(channel, json.loads(channel.receive()))
    except _ParentGone:
        return


def _serve_one(channel: _Channel, request: dict[str, Any]) -> None:
    file = cast(BinaryIO, io.BufferedReader(_ParentFile(channel, request["size_bytes"]), _MOST_READ_BYTES))
    try:
        for row in _rows(file, request):
            # The clock starts again with each row; this one backs up the parent's, should the parent be gone.
            _limit(resource.RLIMIT_CPU, int(time.process_time() + request["seconds"]) + 2, soft_only=True)
            channel.send(b"V", json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        channel.send(b"D")
    except MemoryError:
        channel.send(b"M")
    except KaizenError as error:
        channel.send(b"E", json.dumps({"message": error.message, "advice": error.advice}).encode())
    except Exception as error:  # noqa: BLE001 (whatever a parser raises on bad input is the input's fault)
        message = {"message": f"It is damaged ({type(error).__name__}).", "advice": "Save it again and send that."}
        channel.send(b"E", json.dumps(message).encode())


def _rows(file: BinaryIO, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    _limit(resource.RLIMIT_CPU, int(time.process_time() + request["seconds"]) + 2, soft_only=True)
    reader = importlib.import_module(READERS[request["format"]])
    yield from reader.rows(file, request)


def _limit(which: int, value: int, *, soft_only: bool = False) -> None:
    _, hard = resource.getrlimit(which)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (allowed, hard if soft_only else allowed))


def main(arguments: list[str]) -> None:
    """Serve the parent whose socket is named, or check the imports."""
    if not arguments:
        for module in READERS.values():
            importlib.import_module(module)
        return
    with socket.socket(fileno=int(arguments[0])) as connection:
        serve(connection, int(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
