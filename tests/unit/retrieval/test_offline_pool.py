"""A search without the service finds what the service would find, also where one long document takes all places."""

from __future__ import annotations

import numpy as np

from kaizen.config import Retrieval
from kaizen.offline import SHOWN_DOCUMENTS, OfflineIndex, OfflineQuery
from kaizen.retrieval.view import LiveSegment, View
from tests.unit.retrieval.rows import DIM, document, segment

HANDBOOK, NOTES = 120, 12


def test_documents_behind_a_long_one_are_found() -> None:
    """Every chunk of the handbook is nearer and holds the words more often than any note."""
    handbook = document("handbook", ". ".join(["pump pump pump"] * HANDBOOK))
    notes = [document(f"note{n}", f"of a pump and {' '.join(['other things'] * (n + 3))}") for n in range(NOTES)]
    made = segment(handbook, *notes)
    index = OfflineIndex({0: View(1, (LiveSegment(made, np.ones(made.rows, bool), sealed=True),))}, 1, ())
    asked = OfflineQuery(text="pump", vector=np.eye(1, DIM, dtype=np.float32)[0], tenant="acme")
    settings = Retrieval(depth=50)
    found = index.pool(asked, settings).documents(settings, None, k=SHOWN_DOCUMENTS)
    assert (len(found), "handbook" in found) == (SHOWN_DOCUMENTS, True)


def test_no_more_is_asked_for_than_there_is() -> None:
    made = segment(document("a", "pump"), document("b", "valve"))
    index = OfflineIndex({0: View(1, (LiveSegment(made, np.ones(2, bool), sealed=True),))}, 1, ())
    asked = OfflineQuery(text="pump", vector=np.eye(1, DIM, dtype=np.float32)[0], tenant="acme")
    assert set(index.pool(asked, Retrieval()).documents(Retrieval(), None, k=SHOWN_DOCUMENTS)) == {"a", "b"}
