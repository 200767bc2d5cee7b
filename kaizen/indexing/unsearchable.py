"""Documents that are in the ledger and that no index can hold: told there with the reason."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set

from kaizen.records import Document, Quarantined
from kaizen.storage.ledger import Ledger

NO_VECTOR = "The embedder gave no usable vector for a chunk of it; it cannot be searched. Check the embedder."


def tell_refused(ledger: Ledger, documents: Sequence[Document], refused: Set[tuple[str, str]]) -> None:
    """Those whose (tenant, id) is in `refused` (see `prepare.Prepared`) go into quarantine, the others leave it."""
    now = time.time()
    told = [
        Quarantined(tenant=d.tenant, source=d.source, document_id=d.id, reason=NO_VECTOR, at=now)
        for d in documents
        if (d.tenant, d.id) in refused
    ]
    if told:
        ledger.quarantine.add_many(told)
    taken: dict[tuple[str, str], list[str]] = {}
    for document in documents:
        if (document.tenant, document.id) not in refused:
            taken.setdefault((document.tenant, document.source), []).append(document.id)
    for (tenant, source), ids in taken.items():
        mended = ledger.quarantine.told(tenant, source, ids, NO_VECTOR)  # hardly ever any: to ask costs no write
        ledger.quarantine.clear(tenant, source, mended)
