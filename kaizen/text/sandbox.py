"""A child process that opens what strangers wrote: a hostile file can end the child and nothing else.

The child has a limit on memory and CPU time, no environment, and sees of the file only the bytes that it asks for
over a socket, so it works alike for local and remote files. The parent keeps the clock.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from kaizen.errors import BadDocument, Unavailable

MEMORY_BYTES = 2 * 2**30  # of address space: the libraries map 0.3 GiB, a 32 MiB document in them 0.5 GiB
_START_SECONDS = 60
_FRAME = struct.Struct("!cI")  # kind, length of what follows
_READ = struct.Struct("!QI")  # offset, length
_MOST_READ_BYTES = 2**20
_MOST_FRAME_BYTES = 2**28


class _Died(Exception):
    """The child is gone, or broke the protocol."""


class _TimedOut(Exception):
    """The child did not answer in time."""


class Sandbox:
    """One child process, started when first needed and used again for document after document.

    For one thread. Close it, or use it as a context manager.
    """

    def __init__(self, *, parse_seconds: float, memory_bytes: int = MEMORY_BYTES) -> None:
        self._seconds = parse_seconds
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._served = 0
        self._deadline = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._socket:
            self._socket.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None
        self._served = 0

    def rows(self, file: BinaryIO, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what the child reads from `file`; each row may take `parse_seconds`.

        Raises:
            BadDocument: the file cannot be read, or ended the child.
            Unavailable: the child does not start.
        """
        yielded = False
        worn = self._served > 0
        try:
            for row in self._ask(file, request):
                yielded = True
                yield row
            return
        except (_Died, MemoryError) as error:
            # A child that has served others may be worn (fragmented memory): only a fresh one is a fair judge.
            if not worn or yielded:
                raise _too_much(error, self._memory_bytes) from error
        except _TimedOut as error:
            raise _too_slow(self._seconds) from error
        try:
            yield from self._ask(file, request)
        except (_Died, MemoryError) as error:
            raise _too_much(error, self._memory_bytes) from error
        except _TimedOut as error:
            raise _too_slow(self._seconds) from error

    def _ask(self, file: BinaryIO, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        finished = False
        try:
            self._start()
            self._served += 1
            self._renew()
            self._send(b"Q", json.dumps({**request, "seconds": self._seconds}).encode())
            while True:
                kind, body = self._receive()
                if kind == b"R":
                    self._send(b"B", _slice(file, *_READ.unpack(body)))
                elif kind == b"V":
                    yield json.loads(body)
                    self._renew()
                elif kind == b"M":
                    raise MemoryError
                else:
                    finished = True
                    if kind == b"E":
                        raise BadDocument(**json.loads(body))
                    return
        finally:
            if not finished:
                self.close()

    def _renew(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def _start(self) -> None:
        if self._process and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module, no shell)
                [
                    sys.executable,
                    "-P",
                    "-B",
                    "-m",
                    "kaizen.text.sandbox_child",
                    str(theirs.fileno()),
                    str(self._memory_bytes),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                cwd="/",
            )
        self._socket = ours
        self._deadline = time.monotonic() + _START_SECONDS
        try:
            self._receive()
        except (_Died, _TimedOut) as error:
            self.close()
            raise Unavailable(
                "The process that reads documents does not start.",
                advice="Run `python -m kaizen.text.sandbox_child` to see why; a package may be missing.",
            ) from error

    def _send(self, kind: bytes, body: bytes) -> None:
        with _translated():
            self._timed().sendall(_FRAME.pack(kind, len(body)) + body)

    def _receive(self) -> tuple[bytes, bytes]:
        kind, length = _FRAME.unpack(self._exactly(_FRAME.size))
        if length > _MOST_FRAME_BYTES:
            raise _Died
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            with _translated():
                block = self._timed().recv(min(length - len(received), _MOST_READ_BYTES))
            if not block:
                raise _Died
            received += block
        return bytes(received)

    def _timed(self) -> socket.socket:
        left = self._deadline - time.monotonic()
        if left <= 0 or self._socket is None:
            raise _TimedOut
        self._socket.settimeout(left)
        return self._socket


class _translated:
    """Turns what a socket raises into the two things that can have happened."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            raise _TimedOut from error
        if isinstance(error, OSError):
            raise _Died from error


def _slice(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(min(length, _MOST_READ_BYTES))


def _environment() -> dict[str, str]:
    """Return what the child needs to find our code: no credentials, which a hostile file might look for."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    code = str(Path(__file__).resolve().parents[2])
    paths = [code, *(path for path in sys.path if path and path != code)]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "LC_ALL": "C.UTF-8", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def _too_slow(seconds: float) -> BadDocument:
    return BadDocument(
        f"It took over {seconds:g} seconds to read.", advice="Split it, or raise ingest.parse_seconds if you trust it."
    )


def _too_much(error: BaseException, memory_bytes: int) -> BadDocument:
    if isinstance(error, MemoryError):
        return BadDocument(
            f"It needs over {memory_bytes / 2**30:g} GiB to read.", advice="Split it, or send it as text."
        )
    return BadDocument(
        "It ended the process that read it.", advice="Save it again with another program, or send it as text."
    )
