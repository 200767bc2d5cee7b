"""What a request asks the ledger before it can be answered: it waits for that some seconds and no longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kaizen.errors import Conflict, Unavailable
from kaizen.records import FieldType
from serve_apps import ledger_reads
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
