"""What documents leave that were replaced or deleted: texts in the ledger, batches in the store, idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import pytest

from kaizen.errors import KaizenError, StorageFull, Unavailable
from kaizen.indexing import thinning
from kaizen.indexing.batch import document_table, read_chunks, read_documents, write_batch
from kaizen.records import Document
from kaizen.retrieval.chunk_table import with_vectors
from kaizen.storage.ledger import Ledger, superseded
from kaizen.storage.ledger.documents import Documents
from kaizen.storage.ledger.superseded import ThinnedBatch
from kaizen.storage.object_store import ObjectStore, holds
from tests.unit.collect.place import HOUR, Killed, Place, Store, index
from tests.unit.retrieval.rows import document, rows

DOCUMENTS = [document("d0", "A pump. A valve"), document("d1", "A belt")]


def write(store: ObjectStore, documents: Sequence[Document] = DOCUMENTS) -> str:
    table, vectors = rows(*documents)
    return write_batch(store, document_table(documents), with_vectors(table, vectors), "m")


def record(ledger: Ledger, uri: str, documents: Sequence[Document] = DOCUMENTS) -> int:
    return ledger.documents.append_batch("acme", uri, [(d.id, d.content_sha256(), "") for d in documents], {})


def held(place: Place) -> dict[str, str]:
    """What a reader from the beginning finds in singles and batches, in order: id -> text."""
    found: dict[str, str] = {}
    for change in place.workspace.ledger.documents.changes_after(0):
        documents = [change.document] if change.document else []
        if change.batch_uri:
            documents = read_documents(place.workspace.store, change.batch_uri)
        found.update((one.id, one.text) for one in documents)
    return found


def batches(place: Place) -> list[str]:
    return place.workspace.store.list("batches")


def test_a_batch_that_nobody_recorded_goes_and_a_recorded_one_stays(place: Place) -> None:
    store, ledger = place.workspace.store, place.workspace.ledger
    others = [replace(one, id=f"other-{one.id}") for one in DOCUMENTS]
    recorded, killed, running = write(store), write(store), write(store, others)
    record(ledger, recorded)
    place.after(25)
    record(ledger, running, others)  # an ingest that took its time
    assert place.after(50).gone == (index(place.retired),)
    assert place.after(25 + 168).gone == (killed,)
    assert [holds(store, name) for name in (recorded, killed, running)] == [True, False, True]


def test_a_batch_goes_when_every_document_of_it_was_replaced_or_deleted(place: Place) -> None:
    ledger, uri = place.workspace.ledger, write(place.workspace.store)
    seq = record(ledger, uri)
    ledger.documents.upsert(replace(DOCUMENTS[0], text="A gear"))
    last = ledger.documents.delete("acme", "d1")
    marks = [ledger.documents.mark_of(seq) for seq in range(1, last + 1)]
    early = place.after(23)
    assert (uri in early.waiting, early.gone) == (True, ())
    would = place.after(25, dry_run=True)
    assert (uri in would.waiting, would.gone, would.rewritten) == (True, (), ())
    assert place.after(25) == would
    assert place.after(25 + 167).gone == (index(place.retired),)
    assert batches(place) == [uri]  # a ledger from a backup may lead there
    would = place.after(25 + 168, dry_run=True)
    assert (would.gone, batches(place)) == ((uri,), [uri])
    assert would.freed_bytes > 1000
    assert place.after(25 + 168) == would
    assert (batches(place), held(place)) == ([], {"d0": "A gear"})
    assert [ledger.documents.mark_of(seq) for seq in range(1, last + 1)] == marks
    assert record(ledger, uri) == seq  # recorded once more, it is known still


def test_a_batch_is_written_again_without_what_was_deleted(place: Place) -> None:
    ledger, uri = place.workspace.ledger, write(place.workspace.store)
    record(ledger, uri)
    ledger.documents.delete("acme", "d1")
    assert place.after(167).rewritten == ()
    would = place.after(169, dry_run=True)
    assert (would.rewritten, batches(place)) == ((uri,), [uri])
    done = place.after(169)
    assert (done.rewritten, done.waiting) == ((uri,), would.waiting)
    assert place.after(169 + 167).gone == (index(place.retired),)
    assert uri in place.after(169 + 168).gone
    (new,) = batches(place)
    chunks = read_chunks(place.workspace.store, new, "m")
    assert chunks is not None and set(chunks["document_id"].to_pylist()) == {"d0"}
    assert new != uri and held(place) == {"d0": DOCUMENTS[0].text}
    assert ledger.documents.get("acme", "d0")[0].batch_uri == new
    assert place.after(400).rewritten == ()
    ledger.documents.delete("acme", "d0")
    place.after(401)
    assert place.after(401 + 168).gone == (new,)
    assert (batches(place), held(place)) == ([], {})


def test_while_its_documents_are_replaced_one_by_one_two_of_a_batch_lie_in_the_store_at_most(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    many = [document(f"d{n}", "A pump") for n in range(40)]
    record(ledger, write(store, many), many)
    copies, rewritten = list[int](), 0
    for day in range(35):
        with patch.object(superseded.time, "time", lambda day=day: place.now + day * 24 * HOUR):
            ledger.documents.upsert(document(f"d{day}", "A valve"))
        rewritten += len(place.after(day * 24 + 1).rewritten)
        copies.append(len(batches(place)))
    assert (max(copies), rewritten) == (2, 4)


def test_kills_leave_every_document_that_is_current(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    rounds, over, stays = 0, False, dict[str, str]()
    while not over:
        gone, part = ([replace(one, id=f"{kind}{rounds}-{one.id}") for one in DOCUMENTS] for kind in ("gone", "part"))
        for documents in (gone, part):
            record(ledger, write(store, documents), documents)
        ledger.documents.delete_many("acme", [one.id for one in (*gone, part[1])])
        stays[part[0].id] = part[0].text

        def kill(count: int, _verb: str, last: int = rounds) -> None:
            if count == last:
                raise Killed

        try:
            dying = Store(store, kill)
            for hours in (25, 200, 400):  # it is written again, and the old one goes
                place.after(hours + rounds / 100, dying)
            over = True
        except Killed:
            rounds += 1
        assert {name: text for name, text in held(place).items() if name in stays} == stays
    assert rounds > 6
    for hours in (430, 460, 700):  # what a kill left goes as what nobody recorded does
        place.after(hours)
    assert (len(batches(place)), held(place)) == (len(stays), stays)


def test_a_document_that_goes_while_the_rest_is_written_goes_the_next_time(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    three = [*DOCUMENTS, document("d2", "A pump")]
    record(ledger, write(store, three), three)
    ledger.documents.delete("acme", "d1")
    before = DOCUMENTS[0].text

    def deleted(_count: int, verb: str) -> None:
        if verb == "put_directory":
            ledger.documents.delete("acme", "d2")

    assert len(place.after(169, Store(store, deleted)).rewritten) == 1
    assert held(place) == {"d0": before, "d2": "A pump"}
    assert len(place.after(170).rewritten) == 1
    assert held(place) == {"d0": before}


def test_what_was_collected_before_it_was_recorded_takes_nobodys_place(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    uri = write(store)
    record(ledger, uri)
    ledger.documents.delete("acme", "d1")
    lead = Documents.lead_elsewhere

    def late(documents: Documents, batch: ThinnedBatch, to: str, ids: frozenset[str]) -> bool:
        if to != uri:
            store.delete(to)
        return lead(documents, batch, to, ids)

    with patch.object(Documents, "lead_elsewhere", late):
        assert place.after(169).rewritten == ()
    assert (batches(place), held(place)["d0"]) == ([uri], DOCUMENTS[0].text)
    assert place.after(170).rewritten == (uri,)


@pytest.mark.parametrize("error", [StorageFull, Unavailable])
def test_a_batch_that_cannot_be_written_again_keeps_nothing_else_from_going(
    place: Place, error: type[KaizenError]
) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    uri = write(store)
    record(ledger, uri)
    ledger.documents.delete("acme", "d1")
    place.after(25)

    def full(_count: int, verb: str) -> None:
        if verb == "put_directory":
            raise error("Nothing can be written.")

    done = place.after(169, Store(store, full))
    assert (done.gone, done.rewritten, batches(place)) == ((index(place.retired),), (), [uri])
    assert place.after(170).rewritten == (uri,)


def test_a_look_reads_some_batches_the_oldest_first_and_lost_ones_hold_up_no_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinning, "AT_ONCE", 2)
    ledger, store = place.workspace.ledger, place.workspace.store
    parts = [[replace(one, id=f"{one.id}-{n}") for one in DOCUMENTS] for n in range(7)]
    uris = [write(store, part) for part in parts]
    for uri, part in zip(uris, parts, strict=True):
        record(ledger, uri, part)
    for part in (*parts[:3], *reversed(parts[3:])):
        ledger.documents.delete("acme", part[0].id)
    for uri in uris[:3]:
        store.delete(uri)
    looks = [place.after(169 + n).rewritten for n in range(3)]
    assert looks == [(uris[6], uris[5]), (uris[4], uris[3]), ()]


def test_a_batch_that_lacks_a_current_document_stays_as_it_is(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    uri = write(store)
    record(ledger, uri, [*DOCUMENTS, document("d2", "A pump")])
    ledger.documents.delete("acme", "d1")
    assert (place.after(169).gone, batches(place)) == ((), [uri])


def test_a_text_that_was_replaced_or_deleted_leaves_the_ledger_and_its_file(place: Place) -> None:
    ledger = place.workspace.ledger
    long = "zanzibar " * 5000  # more than a page of SQLite's
    for text in (long, long + "again", "A belt"):
        ledger.documents.upsert(document("d0", text))
    ledger.documents.upsert(document("d1", "quagga"))
    last = ledger.documents.delete("acme", "d1")
    marks = [ledger.documents.mark_of(seq) for seq in range(1, last + 1)]
    early = place.after(23)
    assert (early.texts, early.texts_waiting) == (0, 3)
    assert (place.after(25, dry_run=True).texts, held(place)["d1"]) == (3, "quagga")
    done = place.after(25)
    assert (done.texts, done.texts_waiting, place.after(26).texts) == (3, 0, 0)
    assert [ledger.documents.mark_of(seq) for seq in range(1, last + 1)] == marks
    assert held(place) == {"d0": "A belt"}
    changes = ledger.documents.changes_after(0)
    assert [(one.kind, one.document_id, one.document is None) for one in changes] == [
        ("upsert", "d0", True), ("upsert", "d0", True), ("upsert", "d0", False),
        ("upsert", "d1", True), ("delete", "d1", True),
    ]  # fmt: skip
    ledger.close()
    file = (place.workspace.settings.workspace.directory / "ledger.sqlite").read_bytes()
    assert (b"zanzibar" in file, b"quagga" in file, b"A belt" in file) == (False, False, True)


def test_old_idempotency_keys_go(place: Place) -> None:
    documents = place.workspace.ledger.documents
    first = [documents.upsert(replace(DOCUMENTS[0], text=str(n)), idempotency_key=str(n)) for n in range(3)]
    assert place.after(23).idempotency_keys == 0
    assert documents.upsert(replace(DOCUMENTS[0], text="0"), idempotency_key="0") == first[0]
    assert place.after(25, dry_run=True).idempotency_keys == 3
    assert place.after(25).idempotency_keys == 3
    assert documents.upsert(replace(DOCUMENTS[0], text="0"), idempotency_key="0") > first[-1]
