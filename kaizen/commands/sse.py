"""Server-sent events: lines in, events out (the WHATWG event-stream format, without ids and retries)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `data` lines are joined by newlines."""

    name: str
    data: str


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a stream of lines (without their ends). One that the stream breaks off is dropped."""
    name, data = "message", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name, "\n".join(data))
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
