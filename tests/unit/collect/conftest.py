"""An installation for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.collect.place import Place, opened, sealed


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which three releases were stable in turn, each with an index of two generations."""
    directory = tmp_path_factory.mktemp("made") / "w"
    workspace = opened(directory)
    with workspace.ledger:
        for letter in "abc":
            release = workspace.ledger.releases.record({"index": {"fingerprint": letter * 64}})
            place = Place(workspace, release, release)
            place.promote(release)
            for seq in (1, 2):
                view = sealed(seq, f"d{seq}")
                place.shard(release).save(view, view.segments[0].segment)
    return directory


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(made, tmp_path / "w")
    workspace = opened(tmp_path / "w")
    with workspace.ledger:
        stable, _, retired = workspace.ledger.releases.list()
        yield Place(workspace, retired, stable)
