"""A load generator that takes next to nothing of the CPUs it shares with what it measures: raw HTTP/1.1, kept alive.

It runs in a process of its own, prepares all bytes beforehand, and reads of a response only what tells a whole answer
from a partial one. `Load.cpu_seconds` is its own CPU time, so that a result shows when it was in its own way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """What came of one run. `seconds_each`: of every request, in the order of their ends; `stages` where wanted."""

    seconds: float
    cpu_seconds: float
    seconds_each: list[float]
    stages: list[dict[str, float]]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.seconds_each) / self.seconds


def in_turn(target: Target, bodies: Sequence[Mapping[str, Any]], *, stages: bool = False) -> Load:
    """Send `bodies` one after the other over one connection; `stages` collects the `timings_ms` of the responses."""
    return asyncio.run(_run(target, bodies, connections=1, seconds=None, stages=stages))


def at_once(target: Target, bodies: Sequence[Mapping[str, Any]], *, connections: int, seconds: float) -> Load:
    """Send `bodies` round and round over so many connections for so long, each connection one request at a time."""
    return asyncio.run(_run(target, bodies, connections=connections, seconds=seconds, stages=False))


async def _run(
    target: Target, bodies: Sequence[Mapping[str, Any]], *, connections: int, seconds: float | None, stages: bool
) -> Load:
    requests = [_request(target, body) for body in bodies]
    pending = iter(requests) if seconds is None else itertools.cycle(requests)
    started, cpu_started = time.perf_counter(), time.process_time()
    end = started + seconds if seconds is not None else float("inf")
    load = Load(seconds=0, cpu_seconds=0, seconds_each=[], stages=[])
    await asyncio.gather(*(_connection(target, pending, end, load, stages) for _ in range(connections)))
    return Load(
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
        seconds_each=load.seconds_each,
        stages=load.stages,
    )


def _request(target: Target, body: Mapping[str, Any]) -> bytes:
    content = json.dumps(body).encode() if body else b""
    lines = [f"{'POST' if body else 'GET'} {target.path} HTTP/1.1", f"Host: {urlsplit(target.url).netloc}"]
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def _connection(target: Target, pending: Iterator[bytes], end: float, load: Load, stages: bool) -> None:
    address = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**22)
    try:
        for request in pending:
            started = time.perf_counter()
            if started >= end:
                break
            writer.write(request)
            body = await _response(reader)
            load.seconds_each.append(time.perf_counter() - started)
            _check_whole(target, body)
            if stages:
                load.stages.append(json.loads(body)["timings_ms"])
    finally:
        writer.close()
        await writer.wait_closed()


def _check_whole(target: Target, body: bytes) -> None:
    if target.path.startswith("/v1/") and not all(mark in body for mark in _WHOLE):
        raise Unavailable(f"An answer was partial or none: {body[:300]!r}", advice="Give the machine more room.")


async def _response(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, found, rest = head.partition(b"content-length:")
    body = await reader.readexactly(int(rest.split(b"\r\n", 1)[0])) if found else b""
    if not head.startswith(b"http/1.1 200") or not found:
        raise Unavailable(f"A request was answered with {head[:200]!r} {body[:300]!r}.", advice="See above.")
    return body
