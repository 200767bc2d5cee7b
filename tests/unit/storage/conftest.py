"""For storage tests: an empty ledger on each of the two databases, by URL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen.config import LedgerSettings
from kaizen.storage.ledger import Ledger
from tests.unit.storage.postgres_server import NoPostgres, PostgresServer, running

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole session; skips, saying why, where none can run."""
    try:
        with running() as server:
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create(f"test_{next(_NUMBERS)}")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(LedgerSettings(), url) as opened:
        yield opened
