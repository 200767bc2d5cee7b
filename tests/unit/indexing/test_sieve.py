"""What is a duplicate, what is not, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen.config import LedgerSettings
from kaizen.indexing.sieve import Sieve
from kaizen.records import Document
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.metadata_schema import MAX_FIELDS
from tests.unit.storage.examples import TENANT, document


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        yield opened


def outcomes(ledger: Ledger, *documents: Document, deduplicate: bool = True) -> list[str]:
    verdicts = Sieve(ledger, TENANT, deduplicate=deduplicate).sift(documents, [f"{n}" for n in range(len(documents))])
    return [verdict.outcome for verdict in verdicts]


def test_a_new_copy_is_a_duplicate(ledger: Ledger) -> None:
    ledger.documents.upsert(document("old", "one"))
    new = [document("a", "one"), document("b", "two"), document("c", "two")]
    assert outcomes(ledger, *new) == ["duplicate", "embed", "duplicate"]
    assert outcomes(ledger, *new, deduplicate=False) == ["embed", "embed", "embed"]


def test_a_document_that_is_there_is_replaced_also_by_a_copy(ledger: Ledger) -> None:
    ledger.documents.upsert_many([document("a", "one"), document("b", "two"), document("c", "withdrawn")])
    both = [document("a", "withdrawn"), document("b", "withdrawn")]
    assert outcomes(ledger, *both) == ["embed", "embed"]
    ledger.documents.upsert_many(both)
    assert outcomes(ledger, *both) == ["unchanged", "unchanged"]


def test_a_document_of_another_source_is_taken_anew_also_when_it_has_copies(ledger: Ledger) -> None:
    ledger.documents.upsert_many([document("a", "one"), document("b", "one")])
    assert outcomes(ledger, document("b", "one", source="file:///kb")) == ["embed"]


def test_a_copy_of_what_is_refused_is_refused_too(ledger: Ledger) -> None:
    ledger.documents.upsert(document("old", "one", metadata={"year": 1999}))
    new = [document(name, "two", metadata={"year": "1999"}) for name in "ab"]
    assert outcomes(ledger, *new) == ["quarantined", "quarantined"]


def test_a_document_with_a_field_too_many_is_refused_and_the_others_go_on(ledger: Ledger) -> None:
    ledger.documents.append_batch(TENANT, "batches/1", [], {f"f{number}": "number" for number in range(MAX_FIELDS - 1)})
    new = [document(name, name, metadata={f: 1}) for name, f in (("a", "f0"), ("b", "x"), ("c", "y"), ("d", "x"))]
    verdicts = Sieve(ledger, TENANT, deduplicate=True).sift(new, ["u"] * 4)
    assert [verdict.outcome for verdict in verdicts] == ["embed", "embed", "quarantined", "embed"]
    assert f"may have {MAX_FIELDS}" in verdicts[2].reason


def test_the_first_of_one_id_counts(ledger: Ledger) -> None:
    assert outcomes(ledger, document("a", "one"), document("a", "two")) == ["embed", "quarantined"]


def test_a_unit_that_comes_twice_is_handed_on_twice(ledger: Ledger) -> None:
    """Ray may run a block again when what came of it was lost."""
    ledger.documents.upsert(document("same", "three"))
    read = [document("a", "one"), document("b", "one"), document("same", "three")]
    sieve = Sieve(ledger, TENANT, deduplicate=True)
    said = [[verdict.outcome for verdict in sieve.sift(read, [unit] * 3)] for unit in ("u", "u", "other")]
    assert said == [["embed", "duplicate", "unchanged"]] * 2 + [["quarantined"] * 3]
    assert [verdict.outcome for verdict in sieve.sift([document("a", "other")], ["u"])] == ["quarantined"]
