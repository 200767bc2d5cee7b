"""A load generator that takes next to nothing of the CPUs it shares with what it measures: raw HTTP/1.1, kept alive.

It runs in a process of its own, prepares all bytes beforehand, and reads of a response only what tells a whole answer
from a partial one. `Load.cpu_seconds` is its own CPU time, so that a result shows when it was in its own way.

Two kinds of load. Closed: so many connections, each with one request at a time; a slow server is asked less often.
Open (`at_rate`): requests are due at a constant rate whatever becomes of them, and each one's time counts from when it
was due, so that waiting for the server shows, in its queue as much as in ours.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from kaizen.errors import Unavailable

_WHOLE = (b'"coverage":1.0', b'"degraded":[]')


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
    return asyncio.run(_run(target, bodies, connections=1, seconds=None, stages=stages))


def at_once(target: Target, bodies: Sequence[Mapping[str, Any]], *, connections: int, seconds: float) -> Load:
    """Send `bodies` round and round over so many connections for so long, each connection one request at a time."""
    return asyncio.run(_run(target, bodies, connections=connections, seconds=seconds, stages=False))


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
    return asyncio.run(_run_at_rate(target, bodies, rate, round(rate * seconds), connections, refusals))


async def _run_at_rate(
    target: Target, bodies: Sequence[Mapping[str, Any]], rate: float, count: int, connections: int, refusals: bool
) -> Load:
    requests = [_request(target, body) for body in bodies]
    started, cpu_started = time.perf_counter(), time.process_time()
    due = ((started + number / rate, requests[number % len(requests)]) for number in range(count))
    load = Load(seconds=0, cpu_seconds=0, seconds_each=[])
    await asyncio.gather(*(_paced_connection(target, due, load, refusals) for _ in range(min(connections, count))))
    return replace(load, seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - cpu_started)


async def _run(
    target: Target, bodies: Sequence[Mapping[str, Any]], *, connections: int, seconds: float | None, stages: bool
) -> Load:
    requests = [_request(target, body) for body in bodies]
    pending = iter(requests) if seconds is None else itertools.cycle(requests)
    started, cpu_started = time.perf_counter(), time.process_time()
    end = started + seconds if seconds is not None else float("inf")
    load = Load(seconds=0, cpu_seconds=0, seconds_each=[])
    await asyncio.gather(*(_connection(target, pending, end, load, stages) for _ in range(connections)))
    return replace(load, seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - cpu_started)


def _request(target: Target, body: Mapping[str, Any]) -> bytes:
    content = json.dumps(body).encode() if body else b""
    lines = [f"{'POST' if body else 'GET'} {target.path} HTTP/1.1", f"Host: {urlsplit(target.url).netloc}"]
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def _connection(target: Target, pending: Iterator[bytes], end: float, load: Load, stages: bool) -> None:
    async with _connected(target) as (reader, writer):
        for request in pending:
            started = time.perf_counter()
            if started >= end:
                break
            writer.write(request)
            head, body = await _response(reader)
            load.seconds_each.append(time.perf_counter() - started)
            _check_whole(target, head, body)
            if stages:
                load.stages.append(json.loads(body)["timings_ms"])


async def _paced_connection(target: Target, due: Iterator[tuple[float, bytes]], load: Load, refusals: bool) -> None:
    async with _connected(target) as (reader, writer):
        for at, request in due:
            await asyncio.sleep(at - time.perf_counter())  # at once when it is overdue
            writer.write(request)
            head, body = await _response(reader)
            spent = time.perf_counter() - at
            if refusals and _refused(head):
                load.refused_each.append(spent)
            else:
                _check_whole(target, head, body)
                load.seconds_each.append(spent)


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**22)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def _refused(head: bytes) -> bool:
    return head.startswith(b"http/1.1 429") and b"\r\nretry-after:" in head


def _check_whole(target: Target, head: bytes, body: bytes) -> None:
    if not head.startswith(b"http/1.1 200"):
        raise Unavailable(f"A request was answered with {head[:200]!r} {body[:300]!r}.", advice="See above.")
    if target.path.startswith("/v1/") and not all(mark in body for mark in _WHOLE):
        raise Unavailable(f"An answer was partial or none: {body[:300]!r}", advice="Give the machine more room.")


async def _response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head, in lower case, and body; raises Unavailable for a response without a length."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise Unavailable(f"A response came without a length: {head[:200]!r}.", advice="See above.")
    return head, await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
