"""A load generator that takes next to nothing of the CPUs it shares with what it measures: raw HTTP/1.1, kept alive.

It runs in a process of its own, prepares all bytes beforehand, waits for all connections in one system call, and reads
of a response only what tells a whole answer from a partial one. `Load.cpu_seconds` is its own CPU time, so that a
result shows when it was in its own way.

Two kinds of load. Closed: so many connections, each with one request at a time; a slow server is asked less often.
Open (`at_rate`): requests are due at a constant rate whatever becomes of them, and each one's time counts from when it
was due, so that waiting for the server shows, in its queue as much as in ours.
"""

from __future__ import annotations

import itertools
import json
import math
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from kaizen.errors import Unavailable

_WHOLE = (b'"coverage":1.0', b'"degraded":[]')
_READ = 1 << 18  # bytes; nearly always the whole response
# When a request is due, in seconds from the start, None: as soon as a connection is free; and its bytes.
Due = tuple[float | None, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go, and what each of them carries."""

    url: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of one run; `stages` where wanted.

    seconds_each: of every answered request, in the order of their ends.
    refused_each: the same of requests that were refused for the moment (429 with Retry-After), where that was allowed.
    """

    seconds: float
    cpu_seconds: float
    seconds_each: list[float]
    stages: list[dict[str, float]] = field(default_factory=list)
    refused_each: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return len(self.seconds_each) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Milliseconds within which this share of the answered requests ended, by the nearest rank."""
        ordered = sorted(self.seconds_each)
        return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def in_turn(target: Target, bodies: Sequence[Mapping[str, Any]], *, stages: bool = False) -> Load:
    """Send `bodies` one after the other over one connection; `stages` collects the `timings_ms` of the responses."""
    due = ((None, request) for request in _requests(target, bodies))
    return _Run(target, stages=stages).of(due, connections=1)


def at_once(target: Target, bodies: Sequence[Mapping[str, Any]], *, connections: int, seconds: float) -> Load:
    """Send `bodies` round and round over so many connections for so long, each connection one request at a time."""
    run = _Run(target)
    requests = itertools.cycle(_requests(target, bodies))
    due = ((None, next(requests)) for _ in iter(lambda: run.lasted() < seconds, False))
    return run.of(due, connections=connections)


def at_rate(
    target: Target,
    bodies: Sequence[Mapping[str, Any]],
    *,
    rate: float,
    seconds: float,
    connections: int,
    refusals: bool = False,
) -> Load:
    """Send `rate` requests a second for so long, evenly spaced, over as many of `connections` as are free.

    Times count from when a request was due, also where no connection was free then. `refusals`: 429 with Retry-After
    is an outcome of its own (`refused_each`) and not an error.
    """
    requests, count = _requests(target, bodies), round(rate * seconds)
    due = ((number / rate, requests[number % len(requests)]) for number in range(count))
    return _Run(target, refusals=refusals).of(due, connections=min(connections, count))


def _requests(target: Target, bodies: Sequence[Mapping[str, Any]]) -> list[bytes]:
    return [_request(target, body) for body in bodies]


def _request(target: Target, body: Mapping[str, Any]) -> bytes:
    content = json.dumps(body).encode() if body else b""
    lines = [f"{'POST' if body else 'GET'} {target.path} HTTP/1.1", f"Host: {urlsplit(target.url).netloc}"]
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class _Run:
    """One run: requests go out when they are due, and what comes back is noted in `load`."""

    def __init__(self, target: Target, *, stages: bool = False, refusals: bool = False) -> None:
        self._target = target
        self._stages = stages
        self._refusals = refusals
        self._load = Load(seconds=0, cpu_seconds=0, seconds_each=[])
        self._started = 0.0  # of time.perf_counter, when all connections are there

    def lasted(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    def of(self, due: Iterator[Due], *, connections: int) -> Load:
        """Run to the last response; raises Unavailable for one that is not as it should be."""
        with ExitStack() as stack:
            free = [stack.enter_context(closing(_Connection(self._target))) for _ in range(connections)]
            poll = stack.enter_context(select.epoll())
            self._started, cpu_started = time.perf_counter(), time.process_time()
            self._exchange(due, free, poll)
            return replace(self._load, seconds=self.lasted(), cpu_seconds=time.process_time() - cpu_started)

    def _exchange(self, due: Iterator[Due], free: list[_Connection], poll: select.epoll) -> None:
        """`free` is a stack, so that as few connections as will do are in use; the server may close the others."""
        by_number = {connection.fileno(): connection for connection in free}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        coming = next(due, None)
        while coming or len(free) < len(by_number):
            pause = None  # until something comes back
            while coming and free:
                at, request = coming
                pause = at and max(0.0, at - self.lasted())
                if pause:
                    break
                free.pop().send(request, time.perf_counter() if at is None else self._started + at)
                coming, pause = next(due, None), None
            if pause:  # to the microsecond, which epoll's own time is not
                select.select([poll], [], [], pause)
            for number, _ in poll.poll(0 if pause else None):
                connection = by_number[number]
                if connection in free:
                    poll.unregister(number)
                    free.remove(by_number.pop(number))
                    if not by_number:
                        raise Unavailable("The server closed all connections.", advice="Ask more often.")
                elif response := connection.receive():
                    self._note(*response)
                    free.append(connection)

    def _note(self, spent: float, head: bytes, body: bytes) -> None:
        if self._refusals and head.startswith(b"http/1.1 429") and b"\r\nretry-after:" in head:
            self._load.refused_each.append(spent)
            return
        if not head.startswith(b"http/1.1 200"):
            raise Unavailable(f"A request was answered with {head[:200]!r} {body[:300]!r}.", advice="See above.")
        if self._target.path.startswith("/v1/") and not all(mark in body for mark in _WHOLE):
            raise Unavailable(f"An answer was partial or none: {body[:300]!r}", advice="Give the machine more room.")
        self._load.seconds_each.append(spent)
        if self._stages:
            self._load.stages.append(json.loads(body)["timings_ms"])


class _Connection:
    """One request at a time, and what has come of its response so far."""

    def __init__(self, target: Target) -> None:
        address = urlsplit(target.url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since = 0.0
        self._read = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes, since: float) -> None:
        """Send it; its time counts from `since`, of time.perf_counter."""
        self._since = since
        self._socket.sendall(request)

    def receive(self) -> tuple[float, bytes, bytes] | None:
        """Take what has come. Once all has: seconds, head in lower case, body.

        Raises:
            Unavailable: the response has no length, or the server hung up.
        """
        some = self._socket.recv(_READ)
        if not some:
            raise Unavailable(f"The server hung up after {self._read[:200]!r}.", advice="See its log.")
        self._read += some
        head, ended, body = self._read.partition(b"\r\n\r\n")
        if not ended:
            return None
        head = head.lower()
        _, found, rest = head.partition(b"content-length:")
        if not found:
            raise Unavailable(f"A response came without a length: {head[:200]!r}.", advice="See above.")
        if len(body) < int(rest.split(b"\r\n", 1)[0]):
            return None
        self._read = b""
        return time.perf_counter() - self._since, head, body
