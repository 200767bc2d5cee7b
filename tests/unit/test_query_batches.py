"""Queries that meet before an encoder, with encoders that are held until the test lets them go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from kaizen.errors import BadModel, Unavailable
from serve_apps.query_batches import MOST_CHARACTERS, MOST_TEXTS, QueryBatches

PATIENCE = 10


class Held:
    """Gives each text's length as its vector; every batch waits for `let_go`, and `began` says that it does."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def embed_queries(self, texts: list[str]) -> np.ndarray:
        self.batches.append(texts)
        self.began.release()
        assert self.let_go.acquire(timeout=PATIENCE)
        if "gone" in texts:
            raise Unavailable("The embedder is gone.", advice="Wait.")
        if "bad" in texts:
            raise BadModel("A vector is NaN.", advice="Another model.")
        return np.array([[len(text)] for text in texts], np.float32)


async def begun(encoder: Held) -> None:
    assert await asyncio.to_thread(encoder.began.acquire, timeout=PATIENCE)


def together(texts: list[str]) -> tuple[list[Any], list[list[str]]]:
    """What each text gets when the first is being embedded as the others arrive, and the batches that were made."""

    async def run() -> list[Any]:
        encoder, batches = Held(), QueryBatches(threads=1)
        tasks = [asyncio.create_task(batches.embed(encoder, texts[0]))]
        await begun(encoder)
        tasks += [asyncio.create_task(batches.embed(encoder, text)) for text in texts[1:]]
        await asyncio.sleep(0)  # each takes its place in the line
        encoder.let_go.release(len(texts) + 1)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        made.extend(encoder.batches)
        return found

    made: list[list[str]] = []
    return asyncio.run(run()), made


def test_a_query_alone_starts_at_once_and_those_that_come_meanwhile_go_together() -> None:
    found, batches = together(["a", "bb", "ccc", "dddd"])
    assert [float(vector[0]) for vector in found] == [1, 2, 3, 4]
    assert batches == [["a"], ["bb", "ccc", "dddd"]]


def test_a_batch_is_bounded_in_number_and_in_characters() -> None:
    _, batches = together(["first", *["short"] * (MOST_TEXTS + 3)])
    assert [len(batch) for batch in batches] == [1, MOST_TEXTS, 3]
    _, batches = together(["first", "short", "short", "x" * MOST_CHARACTERS, "short"])
    assert [len(batch) for batch in batches] == [1, 2, 1, 1]
    _, batches = together(["first", "x" * (MOST_CHARACTERS // 2), *["short"] * 3])
    assert [len(batch) for batch in batches] == [1, 4]  # a long one costs what it is, and not for each beside it


def test_one_that_cannot_be_embedded_takes_no_other_with_it() -> None:
    found, _ = together(["a", "bb", "bad", "dddd"])
    assert [float(found[i][0]) for i in (0, 1, 3)] == [1, 2, 4]
    assert isinstance(found[2], BadModel)


def test_an_encoder_that_is_gone_fails_its_batch_and_not_the_next() -> None:
    found, batches = together(["gone", "a", "bb"])
    assert isinstance(found[0], Unavailable)
    assert [float(vector[0]) for vector in found[1:]] == [1, 2]
    assert batches == [["gone"], ["a", "bb"]]


def test_who_gave_up_waiting_is_not_embedded() -> None:
    async def run() -> list[list[str]]:
        encoder, batches = Held(), QueryBatches(threads=1)
        first = asyncio.create_task(batches.embed(encoder, "first"))
        await begun(encoder)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batches.embed(encoder, "impatient"), 0.01)
        last = asyncio.create_task(batches.embed(encoder, "last"))
        await asyncio.sleep(0)
        encoder.let_go.release(2)
        await asyncio.gather(first, last)
        return encoder.batches

    assert asyncio.run(run()) == [["first"], ["last"]]


def test_two_encoders_work_side_by_side() -> None:
    async def run() -> None:
        stable, challenger, batches = Held(), Held(), QueryBatches(threads=2)
        both: list[Coroutine[Any, Any, np.ndarray]] = [batches.embed(each, "q") for each in (stable, challenger)]
        tasks = [asyncio.create_task(each) for each in both]
        await begun(stable)
        await begun(challenger)  # while the other is still held
        for each in (stable, challenger):
            each.let_go.release()
        await asyncio.gather(*tasks)

    asyncio.run(run())
