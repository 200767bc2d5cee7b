"""Which copies a run must take after all, and what it may delete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen.config import LedgerSettings
from kaizen.indexing.seen import Seen
from kaizen.storage.ledger import Ledger
from kaizen.text.sources import Expansion, expand
from tests.unit.storage.examples import TENANT, document


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def found(tmp_path: Path) -> Expansion:
    for name in "bc":
        (tmp_path / "kb").mkdir(exist_ok=True)
        (tmp_path / "kb" / f"{name}.txt").write_text("one")
    return expand([str(tmp_path / "kb")])


class Run:
    """A run over two copies of a content that `a` had before."""

    def __init__(self, ledger: Ledger, found: Expansion, *, prune: bool) -> None:
        self.ledger = ledger
        self.source = found.files[0].source
        self.seen = Seen(ledger.documents, TENANT, found, since=1, prune=prune)
        for name, unit in zip("bc", found.files, strict=True):
            self.seen.see_copy(name, document("a", "one").content_sha256(), unit.key)

    def holds(self, name: str, text: str, *, source: str | None = None) -> None:
        self.ledger.documents.upsert(document(name, text, source=self.source if source is None else source))

    def stranded(self) -> list[tuple[str, set[str]]]:
        return [(unit.path, set(unit.only)) for unit in self.seen.stranded().files]


@pytest.mark.parametrize(("prune", "expected"), [(True, [("b.txt", {"b"})]), (False, [])])
def test_one_copy_is_taken_of_an_original_that_goes(
    ledger: Ledger, found: Expansion, prune: bool, expected: list[tuple[str, set[str]]]
) -> None:
    run = Run(ledger, found, prune=prune)
    run.holds("a", "one")
    assert run.stranded() == expected


def test_one_copy_is_taken_of_an_original_that_was_replaced(ledger: Ledger, found: Expansion) -> None:
    run = Run(ledger, found, prune=False)
    run.holds("a", "another")
    run.seen.see(["a"])
    assert run.stranded() == [("b.txt", {"b"})]


@pytest.mark.parametrize("source", ["", "file:///elsewhere"])
def test_an_original_from_elsewhere_stays(ledger: Ledger, found: Expansion, source: str) -> None:
    run = Run(ledger, found, prune=True)
    run.holds("a", "one", source=source)
    assert run.stranded() == []


def test_an_original_that_goes_leaves_another_that_stays(ledger: Ledger, found: Expansion) -> None:
    run = Run(ledger, found, prune=True)
    run.holds("a", "one")
    run.holds("d", "one")
    run.seen.see(["d"])
    assert run.stranded() == []
    assert run.seen.unseen(run.source) == ["a"]


def test_nothing_goes_from_a_source_that_could_not_be_read_whole(ledger: Ledger, found: Expansion) -> None:
    run = Run(ledger, found, prune=True)
    run.holds("a", "one")
    assert run.seen.is_complete(run.source)
    run.seen.see_unread(run.source)
    assert not run.seen.is_complete(run.source)
    assert run.stranded() == []


def test_an_original_stays_unless_its_copy_is_there(ledger: Ledger, found: Expansion) -> None:
    run = Run(ledger, found, prune=True)
    run.holds("a", "one")
    again = run.seen.stranded()
    run.holds("b", "one")
    run.seen.check_taken(again)
    assert run.seen.is_complete(run.source)
    ledger.documents.delete(TENANT, "b")
    run.seen.check_taken(again)
    assert not run.seen.is_complete(run.source)
