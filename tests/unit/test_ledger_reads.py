"""What a request asks the ledger before it can be answered: it waits for that some seconds and no longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kaizen.errors import Conflict, Unavailable
from kaizen.records import FieldType
from serve_apps import field_types, ledger_reads
from serve_apps.field_types import FieldTypes
from serve_apps.ledger_reads import LedgerReads


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, the ledger says nothing."""
    monkeypatch.setattr(ledger_reads, "ANSWER_SECONDS", 0.05)
    yield (speaks := threading.Event())
    speaks.set()


def test_what_the_ledger_says_is_what_comes_of_it() -> None:
    def refuse() -> None:
        raise Conflict("No.")

    assert asyncio.run(LedgerReads().of(lambda: 1)) == 1
    with pytest.raises(Conflict):
        asyncio.run(LedgerReads().of(refuse))


def test_a_filter_is_not_waited_for_when_the_ledger_is_silent(silent: threading.Event) -> None:
    known: dict[str, FieldType] = {"year": "number"}

    def schema(_tenant: str) -> dict[str, FieldType]:
        assert silent.wait(10)
        return known

    ledger: Any = SimpleNamespace(documents=SimpleNamespace(schema=schema))
    types = FieldTypes(ledger)
    with pytest.raises(Unavailable, match="does not answer"):
        asyncio.run(types.of("acme", {"year"}))
    silent.set()
    assert asyncio.run(types.of("acme", {"year"})) == known


def test_unknown_fields_are_looked_up_together_and_a_new_one_is_found_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(field_types, "PAUSE_SECONDS", 0.05)
    stored: dict[str, FieldType] = {"year": "number"}
    began: list[str] = []

    def schema(tenant: str) -> dict[str, FieldType]:
        began.append(tenant)
        return dict(stored)

    async def run() -> None:
        types = FieldTypes(cast("Any", SimpleNamespace(documents=SimpleNamespace(schema=schema))))
        until = (started := time.monotonic()) + 0.5

        async def curious(number: int) -> None:
            while time.monotonic() < until:
                assert set(await types.of("acme", {f"unknown{number}"})) <= {"year", "new"}

        asking = [asyncio.create_task(curious(number)) for number in range(20)]
        await asyncio.sleep(0.12)
        stored["new"] = "string"
        assert (await types.of("acme", {"new"}))["new"] == "string"
        await asyncio.gather(*asking)
        known = len(began)
        assert known <= (time.monotonic() - started) / 0.05 + 1
        assert await types.of("acme", {"new", "year"}) == stored
        assert len(began) == known

    asyncio.run(run())
