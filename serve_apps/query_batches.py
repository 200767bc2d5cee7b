"""Queries that wait for the same encoder go to its thread together: the way there and back is taken once for all.

Nobody waits for company. While the encoder works, what arrives gathers; what has gathered is the next batch. Alone, a
query is a batch of one, and starts at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from kaizen.errors import BadModel
from serve_apps.worker_threads import Outcome, WorkerThreads

# All of a batch get their vectors at its end: so many characters are worth the time of the others.
MOST_CHARACTERS = 2048
MOST_TEXTS = 16


class Encoder(Protocol):
    """What embeds queries; blocking."""

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        """(n, dim) float32, normalised; raises BadModel or Unavailable."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    text: str
    vector: asyncio.Future[np.ndarray]


@dataclass(slots=True)
class _Line:
    """Before one encoder."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    busy: bool = False

    def next_batch(self) -> list[_Waiting]:
        """The first in line and those behind it that fit; who gave up waiting is left out."""
        batch: list[_Waiting] = []
        characters = 0
        while self.waiting and len(batch) < MOST_TEXTS:
            one = self.waiting[0]
            if batch and characters + len(one.text) > MOST_CHARACTERS:
                break
            self.waiting.popleft()
            if not one.vector.done():
                batch.append(one)
                characters += len(one.text)
        return batch


class QueryBatches:
    """The lines before all encoders of one replica. Belongs to one event loop."""

    def __init__(self, threads: int) -> None:
        self._threads = WorkerThreads(threads, "embed")
        self._lines: WeakKeyDictionary[Encoder, _Line] = WeakKeyDictionary()

    async def embed(self, encoder: Encoder, text: str) -> np.ndarray:
        """(dim,) float32, normalised; raises BadModel or Unavailable."""
        line = self._lines.setdefault(encoder, _Line())
        vector: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        line.waiting.append(_Waiting(text, vector))
        if not line.busy:
            self._start(encoder, line)
        return await vector

    def _start(self, encoder: Encoder, line: _Line) -> None:
        batch = line.next_batch()
        line.busy = bool(batch)
        if batch:
            texts = [one.text for one in batch]
            self._threads.call(partial(_vectors, encoder, texts), partial(self._done, encoder, line, batch))

    def _done(
        self, encoder: Encoder, line: _Line, batch: list[_Waiting], done: Outcome[list[np.ndarray | BadModel]]
    ) -> None:
        self._start(encoder, line)  # first of all: the encoder must not idle while answers are handed out
        results = done.value if done.value is not None else [done.error] * len(batch)
        for one, result in zip(batch, results, strict=True):
            if one.vector.done():
                continue
            if isinstance(result, BaseException):
                one.vector.set_exception(result)
            else:
                one.vector.set_result(result)


def _vectors(encoder: Encoder, texts: list[str]) -> list[np.ndarray | BadModel]:
    """A vector or an error for each text: one that cannot be embedded must not take the others with it."""
    try:
        return list(encoder.embed_queries(texts))
    except BadModel as error:
        if len(texts) == 1:
            return [error]
    return [result for text in texts for result in _vectors(encoder, [text])]
