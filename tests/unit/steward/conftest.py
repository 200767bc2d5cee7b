"""A world for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen.config import LedgerSettings
from kaizen.storage.ledger import Ledger
from tests.unit.steward.world import World


@pytest.fixture
def world(migrated_sqlite: Path, tmp_path: Path) -> Iterator[World]:
    """A release is in service, and people have used it a little."""
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite")
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        made = World(ledger)
        made.base()
        made.people(60)
        yield made
