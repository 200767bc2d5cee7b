"""A short way to an actor on the same node: a question over a Unix socket. Ray's own call costs ten times as much.

Ray stays the way in: it places, starts, restarts and watches the actor, and only a call of Ray tells the address of its
line. What travels on the line is a question whose answer changes nothing, so one that is lost may be asked again. The
rest of a question may follow when it is known: the other end begins meanwhile.

Each end asks the kernel whose process the other is, and speaks only with its own user's: the address is a random name
in Linux's abstract namespace, which ends with the process and leaves no file. Figures are in docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import secrets
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from typing import BinaryIO, cast

from actors.background import run_in_background
from kaizen.errors import KaizenError, Unavailable
from kaizen.loop_thread import call_in_loop

# Of one caller; who comes when all are taken waits. As many as a gateway works on requests at a time, twice, since a
# trial may search for both releases: who waits for a vector must not hold up who needs none.
CONNECTIONS = 64
_HEADER = struct.Struct("<BQ")  # kind, bytes that follow
_QUESTION, _BEGINNING, _REST, _ANSWER, _ERROR = range(5)
_PEER = struct.Struct("iII")  # SO_PEERCRED: pid, uid, gid
Handler = Callable[..., bytes]


class LineLost(Unavailable):
    """The other end is gone, or is not ours. Ask Ray for the actor again."""


class DirectLine:
    """The actor's end. `handle` is called with what a caller asks, in a thread for each connection.

    Of a question whose rest follows, it gets one argument more: `rest() -> bytes` waits for it.
    """

    def __init__(self, handle: Handler) -> None:
        self.address = f"kaizen-{secrets.token_hex(16)}"
        self._handle = handle
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("\0" + self.address)
        self._listener.listen(128)
        run_in_background(self._accept)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if _is_ours(connection):
                threading.Thread(target=self._serve, args=(connection,), name="direct-line", daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        """Answer one question after the other until the caller goes."""
        with connection, connection.makefile("rb") as messages:
            try:
                while True:
                    kind, question = _read(messages)
                    if kind != _REST:  # of a question that was answered without it
                        connection.sendall(self._answer(kind, question, messages))
            except OSError:
                return  # nobody waits for the answer any more

    def _answer(self, kind: int, question: bytes, messages: BinaryIO) -> bytes:
        rest = [lambda: _read(messages)[1]] if kind == _BEGINNING else []
        try:
            kind, content = _ANSWER, self._handle(*pickle.loads(question), *rest)  # noqa: S301 (of our own user, see `_is_ours`)
        except Exception as error:  # noqa: BLE001 (it is raised at the other end)
            kind, content = _ERROR, _pickled(error)
        return _message(kind, content)


class DirectCaller:
    """The caller's end; belongs to one event loop. One question at a time on a connection, as many as are needed.

    `close()` ends the idle ones, as happens when nobody holds this any more.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[_Connection] = []
        self.close = weakref.finalize(self, _end, self._idle)

    async def reachable(self) -> bool:
        """Whether the actor's end is there and is ours: a shared node need not mean a shared network namespace."""
        try:
            self._idle.append(await self._connect())
        except OSError:
            return False
        return True

    async def ask(self, *question: object, rest: asyncio.Future[bytes] | None = None) -> bytes:
        """What the actor's handler gives for `question`. Who stops waiting closes the connection with it.

        `rest` follows once it is there, and must not fail: who makes it cancels the question instead.

        Raises:
            LineLost: the actor's process is gone, or was never ours.
            KaizenError: as the actor's handler raised it.
        """
        pickled = pickle.dumps(question, pickle.HIGHEST_PROTOCOL)
        async with self._places:
            try:
                connection = self._idle.pop() if self._idle else await self._connect()
                try:
                    kind, content = await connection.ask(pickled, rest)
                except BaseException:
                    connection.close()
                    raise
            except OSError as error:
                raise LineLost("The shard's process is gone.", advice="Try again in a moment.") from error
            self._idle.append(connection)
        if kind == _ERROR:
            raise pickle.loads(content)  # noqa: S301 (as above)
        return content

    async def _connect(self) -> _Connection:
        loop, end = asyncio.get_running_loop(), socket.socket(socket.AF_UNIX)
        end.setblocking(False)
        try:
            await loop.sock_connect(end, "\0" + self._address)
            if not _is_ours(end):
                raise ConnectionRefusedError("the process at the other end is another user's")
            _, connection = await loop.create_unix_connection(_Connection, sock=end)
        except BaseException:
            end.close()
            raise
        return connection


class _Connection(asyncio.Protocol):
    """One question at a time, and its answer. A loop's calls on bare sockets (`sock_recv`) take twice as long."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._lost = False

    async def ask(self, question: bytes, rest: asyncio.Future[bytes] | None) -> tuple[int, bytes]:
        """Kind and content of the answer; ConnectionResetError when the other end is gone."""
        self._answer = self._loop.create_future()
        if rest is None:
            self._say(_QUESTION, question)
        else:
            self._say(_BEGINNING, question)
            self._say(_REST, await asyncio.shield(rest))
        return await self._answer

    def close(self) -> None:
        """Give the question up."""
        self._answer.cancel()
        self._transport.abort()

    def close_soon(self) -> None:
        """As `close`, from any thread, and when the loop may have ended."""
        call_in_loop(self._loop, self.close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < _HEADER.size:
            return
        kind, size = _HEADER.unpack_from(self._received)
        if len(self._received) == _HEADER.size + size and not self._answer.done():
            self._answer.set_result((kind, bytes(self._received[_HEADER.size :])))
            self._received.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if not self._answer.done():
            self._answer.set_exception(_reset())

    def _say(self, kind: int, content: bytes) -> None:
        if self._lost:
            raise _reset()
        self._transport.write(_message(kind, content))


def _message(kind: int, content: bytes) -> bytes:
    return _HEADER.pack(kind, len(content)) + content


def _read(messages: BinaryIO) -> tuple[int, bytes]:
    """Kind and content of the next message, waiting for it; ConnectionResetError when there is none any more."""
    header = messages.read(_HEADER.size)
    if len(header) == _HEADER.size:
        kind, size = _HEADER.unpack(header)
        if len(content := messages.read(size)) == size:
            return kind, content
    raise _reset()


def _reset() -> ConnectionResetError:
    return ConnectionResetError("the other end closed the connection")


def _is_ours(connection: socket.socket) -> bool:
    _, user, _ = cast("tuple[int, int, int]", _PEER.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    ))  # fmt: skip
    return user == os.geteuid()


def _pickled(error: Exception) -> bytes:
    """Our own errors as they are; any other as its text, for it might not be read at the other end."""
    known = error if isinstance(error, KaizenError) else Unavailable(f"{type(error).__name__}: {error}")
    return pickle.dumps(known.with_traceback(None), pickle.HIGHEST_PROTOCOL)


def _end(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.close_soon()
