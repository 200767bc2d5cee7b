"""A document that no index can hold is told of, whoever builds the index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kaizen.config import Chunking, LedgerSettings
from kaizen.indexing.prepare import prepare
from kaizen.indexing.unsearchable import NO_VECTOR, tell_refused
from kaizen.storage.ledger import Ledger
from kaizen.text.chunk import Chunker
from kaizen.text.tokens import TokenCounter
from tests.unit.models.tiny_model import write_tiny_model
from tests.unit.retrieval.rows import DIM, document


class Blind:
    """An embedder that has no vector for texts about valves."""

    def embed_checked(self, texts: Sequence[str]) -> tuple[np.ndarray, tuple[int, ...]]:
        bad = tuple(row for row, text in enumerate(texts) if "valve" in text)
        return np.ones((len(texts), DIM), np.float32), bad


def test_what_the_embedder_refuses_is_left_out_and_quarantined(tmp_path: Path) -> None:
    counter = TokenCounter.from_directory(write_tiny_model(tmp_path / "tiny"), prompt="", lowercase=False)
    documents = [document("a", "the pump"), document("b", "the valve")]
    done = prepare(documents, Chunker(counter, Chunking()), Blind())
    assert set(done.table["document_id"].to_pylist()) == {"a"}
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        tell_refused(ledger, documents[:1], done.refused)
        assert ledger.quarantine.count("acme") == 0
        tell_refused(ledger, documents, done.refused)
        (told,) = ledger.quarantine.list("acme")
        assert (told.document_id, told.reason) == ("b", NO_VECTOR)
        mended = [documents[0], document("b", "the pump again")]
        tell_refused(ledger, mended, frozenset())
        assert ledger.quarantine.count("acme") == 0


def test_a_document_of_the_same_id_is_another_tenants_own(tmp_path: Path) -> None:
    counter = TokenCounter.from_directory(write_tiny_model(tmp_path / "tiny"), prompt="", lowercase=False)
    documents = [document("a", "the valve", tenant="acme"), document("a", "the pump", tenant="other")]
    done = prepare(documents, Chunker(counter, Chunking()), Blind())
    assert (done.refused, done.table["tenant"].to_pylist()) == ({("acme", "a")}, ["other"])
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        tell_refused(ledger, documents, done.refused)
        assert (ledger.quarantine.count("acme"), ledger.quarantine.count("other")) == (1, 0)
