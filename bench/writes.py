"""Live writes over HTTP: how many a second are acknowledged, and how soon searches see them.

    python -m bench.writes [--quick] [--json]

prints one line and writes bench/out/writes.svg. About six minutes; --quick measures for a third of the time.

Against a throw-away installation with default settings: SQLite with a sync on each commit, a shard in two copies, the
embedder as an actor. Documents are real text of one chunk (docstrings of the standard library), each under an id of its
own. A write counts when its 200 has come: it is durable then.

    upserts_per_s     by number of writers, each with one connection and one write at a time: a burst, which the ledger
                      takes and the embedder works off afterwards
    caught_up_s       how long after the last burst everything acknowledged was searchable
    searchable_per_s  writes with `wait_for=searchable` by as many writers as can help: what goes on for ever, since a
                      chunk must be embedded before searches see it. On CPUs that is less than the ledger takes
    searchable_*_ms   the same, sent at half of that rate on a schedule, counted from the moment at which the write was
                      due: so queueing shows. Goal: p99 1,000 ms
    unsearchable      of these writes, how many were not searchable when the service gave up waiting
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.chart import write_chart
from bench.command import bench_parser, print_result
from cluster.throwaway import Installation, installation
from kaizen.config import Settings
from kaizen.errors import Unavailable
from kaizen.evaluation.bars import Group
from kaizen.text.stdlib_corpus import stdlib_documents

WRITERS = (1, 4, 16)
SECONDS, QUICK_SECONDS = 15.0, 5.0
CATCH_UP_SECONDS = 600.0
TEXT_CHARACTERS = 600
P99_GOAL_MS = 1000.0
SENDERS = 64  # at the fixed rate: enough that a slow answer holds no other write up
WAITING = 16  # writers that wait for each write to be searchable: more only wait longer


@dataclass(frozen=True, slots=True)
class Reply:
    """Seconds from when a write was due until its answer; whether searches see it."""

    seconds: float
    searchable: bool


class Writer:
    """One connection that stores documents."""

    def __init__(self, running: Installation, bodies: Iterator[tuple[str, bytes]]) -> None:
        address = urlsplit(running.state.url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        self._headers = {**running.headers, "Content-Type": "application/json"}
        self._bodies = bodies

    def put(self, wait_for: str) -> bool:
        """Store the next document; whether it is searchable. Raises Unavailable unless it was acknowledged."""
        name, body = next(self._bodies)
        self._connection.request("PUT", f"/v1/documents/{name}?wait_for={wait_for}", body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise Unavailable(f"A write was answered with {response.status}: {content[:200]!r}", advice="See above.")
        return bool(json.loads(content)["searchable"])


class _Bodies:
    """Documents without end, for many threads: `next` of an `itertools.count` is atomic."""

    def __init__(self) -> None:
        self._texts = [row["text"][:TEXT_CHARACTERS] for row in itertools.islice(stdlib_documents(), 500)]
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return self

    def __next__(self) -> tuple[str, bytes]:
        number = next(self._numbers)
        body = {"title": f"Note {number}", "text": self._texts[number % len(self._texts)]}
        return f"note-{number}", json.dumps(body).encode()


def rate(
    running: Installation, bodies: Iterator[tuple[str, bytes]], writers: int, seconds: float, wait_for: str = "durable"
) -> float:
    """Upserts a second of so many writers at once, each acknowledged, or searchable with `wait_for`."""
    end = time.monotonic() + seconds

    def write(_: int) -> int:
        writer, done = Writer(running, bodies), 0
        while time.monotonic() < end:
            done += writer.put(wait_for) or wait_for == "durable"
        return done

    with ThreadPoolExecutor(writers) as pool:
        return sum(pool.map(write, range(writers))) / seconds


def catch_up(running: Installation, bodies: Iterator[tuple[str, bytes]]) -> float:
    """Seconds until a write that is sent now is searchable, and with it all before it."""
    started, writer = time.monotonic(), Writer(running, bodies)
    while not writer.put("searchable"):
        if time.monotonic() - started > CATCH_UP_SECONDS:
            raise Unavailable("The index does not catch up with the ledger.", advice="See `kaizen status`.")
    return time.monotonic() - started


def freshness(
    running: Installation, bodies: Iterator[tuple[str, bytes]], per_second: float, seconds: float
) -> list[Reply]:
    """Replies of writes that are due every 1 / `per_second`, each of which waits until searches see it."""
    start, total = time.monotonic() + 0.5, int(per_second * seconds)
    turns = itertools.count()

    def send(_: int) -> list[Reply]:
        writer, replies = Writer(running, bodies), []
        for number in iter(lambda: next(turns), None):
            if number >= total:
                break
            due = start + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            searchable = writer.put("searchable")
            replies.append(Reply(time.monotonic() - due, searchable))
        return replies

    with ThreadPoolExecutor(SENDERS) as pool:
        return [reply for replies in pool.map(send, range(SENDERS)) for reply in replies]


def measure(seconds: float) -> dict[str, Any]:
    """Start an installation and write; returns the object that is printed."""
    bodies = iter(_Bodies())
    with installation(Settings(), {"learning": {"steward": False}}) as running:
        rate(running, bodies, 1, 2.0)  # what is imported and opened at first use
        rates = {writers: rate(running, bodies, writers, seconds) for writers in WRITERS}
        caught_up = catch_up(running, bodies)
        searchable = rate(running, bodies, WAITING, seconds, "searchable")
        replies = freshness(running, bodies, searchable / 2, seconds)
    milliseconds = 1000 * np.array([reply.seconds for reply in replies])
    return {
        "upserts_per_s": {str(writers): round(value, 1) for writers, value in rates.items()},
        "caught_up_s": round(caught_up, 1),
        "searchable_per_s": round(searchable, 1),
        "offered_per_s": round(searchable / 2, 1),
        "searchable_p50_ms": round(float(np.percentile(milliseconds, 50)), 1),
        "searchable_p99_ms": round(float(np.percentile(milliseconds, 99)), 1),
        "unsearchable": sum(not reply.searchable for reply in replies),
        "writes": len(replies),
    }


def _draw(result: dict[str, Any]) -> Path:
    fresh = [("p50", result["searchable_p50_ms"]), ("p99", result["searchable_p99_ms"])]
    rates = [(f"{writers} writers", value) for writers, value in result["upserts_per_s"].items()]
    rates.append((f"{WAITING}, searchable", result["searchable_per_s"]))
    return write_chart(
        "writes",
        f"Live writes: searchable at {result['offered_per_s']:.0f} a second",
        [
            Group(title="acknowledged upserts", unit="/s", bars=rates),
            Group(title="until searchable", unit="ms", bars=fresh, goal=P99_GOAL_MS),
        ],
    )


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    parser = bench_parser("bench.writes", __doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the time")
    options = parser.parse_args(arguments)
    result = measure(QUICK_SECONDS if options.quick else SECONDS)
    chart = _draw(result)
    print_result(result, chart, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
