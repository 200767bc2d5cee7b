"""What a writer is told when it waits until its documents can be found."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaizen.config import LedgerSettings
from kaizen.indexing.unsearchable import NO_VECTOR
from kaizen.records import Principal, Quarantined
from kaizen.storage.ledger import Ledger
from serve_apps.documents import DocumentWriter
from serve_apps.schemas import ChangeResponse, DocumentWithId


class Reached:
    """Indices that come as far as they are asked to, and an embedder that refuses `refused` on the way."""

    def __init__(self, ledger: Ledger, refused: tuple[str, ...]) -> None:
        self._ledger = ledger
        self._refused = refused

    def poke(self) -> None:
        pass

    async def reach(self, _seq: int, _seconds: float) -> bool:
        self._ledger.quarantine.add_many(
            [Quarantined(tenant="t", source="", document_id=name, reason=NO_VECTOR, at=1.0) for name in self._refused]
        )
        return True


@pytest.mark.parametrize(("refused", "searchable"), [((), True), (("b",), False), (("another",), True)])
def test_what_the_embedder_refused_is_not_called_searchable(
    tmp_path: Path, refused: tuple[str, ...], searchable: bool
) -> None:
    with Ledger.open(LedgerSettings(), f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        settings = SimpleNamespace(server=SimpleNamespace(max_batch_documents=10))
        workspace: Any = SimpleNamespace(ledger=ledger, store=None, settings=settings)
        indices: Any = Reached(ledger, refused)
        writer = DocumentWriter(workspace, indices)
        principal = Principal(tenant="t", key_id="k", scopes=("write",), groups=())
        documents = [DocumentWithId(id=name, text="the pump") for name in ("a", "b")]
        done = asyncio.run(writer.put_many(principal, documents, None, "searchable"))
        assert done == ChangeResponse(seq=2, searchable=searchable)
