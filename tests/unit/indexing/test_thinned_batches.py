"""Who has read where a document lies, and finds its batch written again or gone; and a batch that is really lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from kaizen.collect import collect
from kaizen.config import IndexSettings, LedgerSettings, Settings
from kaizen.errors import NotFound
from kaizen.indexing.batch import document_table, write_batch
from kaizen.indexing.feed import Feed
from kaizen.records import Document
from kaizen.retrieval.analyser import Analyser
from kaizen.retrieval.chunk_table import with_vectors
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.documents import Documents
from kaizen.storage.object_store import open_store
from kaizen.workspace import Workspace
from serve_apps.documents import DocumentWriter
from tests.unit.retrieval.rows import DIM, document, rows

TWO = [document("a", "A pump"), document("b", "A valve")]
MONTH = 30 * 24 * 3600.0


@dataclass
class Place:
    """A workspace with one batch of two documents, which the change 1 brought."""

    workspace: Workspace
    batch: str

    def collect(self) -> None:
        for _ in ("led elsewhere", "gone"):
            self.now += MONTH
            collect(self.workspace, self.now)

    now: float = 2e9

    def feed(self) -> Feed:
        return Feed(
            ledger=self.workspace.ledger,
            store=self.workspace.store,
            shard=0,
            shards=1,
            dim=DIM,
            made_by="m",
            prepare=lambda documents: with_vectors(*rows(*documents)),
            analyser=Analyser(),
            settings=IndexSettings(),
        )


@pytest.fixture
def place(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Place]:
    shutil.copy(migrated_sqlite, tmp_path / "ledger.sqlite")
    store = open_store(str(tmp_path / "objects"))
    batch = write_batch(store, document_table(TWO), with_vectors(*rows(*TWO)), "m")
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.documents.append_batch("acme", batch, [(d.id, d.content_sha256(), "") for d in TWO], {})
        settings = Settings.model_validate({"workspace": {"directory": tmp_path}})
        yield Place(Workspace(settings, ledger, store), batch)


def read(place: Place, document_id: str) -> Document:
    return DocumentWriter(place.workspace, indices=None)._read("acme", document_id)[1]  # type: ignore[arg-type]


def test_a_document_is_read_though_its_batch_is_written_again_meanwhile(place: Place) -> None:
    get, looks = Documents.get, []

    def got(documents: Documents, *which: str) -> Any:  # noqa: ANN401 (as `get`)
        found = get(documents, *which)
        if not looks:
            place.workspace.ledger.documents.delete("acme", "b")
            place.collect()
        looks.append(found[0].batch_uri)
        return found

    with patch.object(Documents, "get", got):
        assert read(place, "a") == TWO[0]
    assert looks[0] == place.batch != looks[-1]
    with pytest.raises(NotFound):
        read(place, "b")


def test_a_batch_that_is_lost_stops_who_needs_it_and_says_what_to_do(place: Place) -> None:
    store = place.workspace.store
    store.delete(place.batch)
    with pytest.raises(NotFound, match=r"2 documents lie in batches/.*Restore its `batches`"):
        place.feed().after(0)
    with pytest.raises(NotFound):
        read(place, "a")
    place.workspace.ledger.documents.delete_many("acme", ["a", "b"])  # as the error says
    changes = place.feed().after(0)
    assert changes is not None and (changes.seq, changes.replaced, changes.added) == (1, (), None)
