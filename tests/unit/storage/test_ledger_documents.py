"""The verbs on documents, on both databases."""

from __future__ import annotations

import math
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from kaizen.errors import Conflict, InvalidInput, NotFound
from kaizen.records import Change, Document, DocumentState, Quarantined
from kaizen.storage.ledger import BatchEntry, Ledger, superseded, tables
from kaizen.storage.ledger import documents as documents_module
from kaizen.storage.ledger.metadata_schema import MAX_FIELDS
from tests.unit.storage.examples import TENANT, document


def _kinds(changes: list[Change]) -> list[tuple[int, str]]:
    return [(change.seq, change.kind) for change in changes]


def test_an_upsert_is_read_back_with_every_character(ledger: Ledger) -> None:
    stored = Document(
        tenant=TENANT,
        id="Grüße/☃ #1",
        title="T",
        text="NUL \0, tab \t, emoji 🦜, right-to-left \u202e",
        metadata={"year": 1999, "price": 1.25, "open": True, "tags": ("a", "b"), "lang": "de"},
        groups=("staff",),
        source="file:///a.txt",
    )
    seq = ledger.documents.upsert(stored)
    state = DocumentState(
        tenant=TENANT,
        id=stored.id,
        seq=seq,
        content_sha256=stored.content_sha256(),
        source="file:///a.txt",
        batch_uri="",
    )
    assert ledger.documents.get(TENANT, stored.id) == (state, stored)
    (change,) = ledger.documents.changes_after(0)
    assert (change.seq, change.kind, change.document_id, change.document) == (seq, "upsert", stored.id, stored)


def test_every_kind_of_change_comes_in_order(ledger: Ledger) -> None:
    documents = ledger.documents
    assert documents.head() == 0
    first = documents.upsert_many([document("a"), document("b"), document("c")])
    batch = documents.append_batch(TENANT, "batches/1", [BatchEntry("d", "sha-d", "s"), ("e", "sha-e", "s")], {})
    gone = documents.delete(TENANT, "a")
    many = documents.delete_many(TENANT, ["e", "b", "never"])
    assert [first, batch, gone, many] == sorted([first, batch, gone, many])
    assert documents.head() == many
    changes = documents.changes_after(0)
    assert [c.kind for c in changes] == ["upsert", "upsert", "upsert", "batch", "delete", "delete_batch"]
    assert (changes[3].batch_uri, changes[4].document_id, changes[5].document_ids) == ("batches/1", "a", ("b", "e"))
    assert sorted(documents.states(TENANT, ["a", "b", "c", "d", "e"])) == ["c", "d"]
    assert _kinds(documents.changes_after(batch, limit=1)) == [(gone, "delete")]
    assert documents.changes_after(many) == []


def test_a_change_is_known_by_a_mark_that_no_other_history_has(ledger: Ledger) -> None:
    documents = ledger.documents
    assert (documents.mark_of(0), documents.mark_of(1)) == (None, None)
    seq = documents.upsert(document("a"))
    mark = documents.mark_of(seq)
    documents.append_batch(TENANT, "batches/1", [], {})
    assert mark is not None and documents.mark_of(seq) == mark
    assert documents.mark_of(documents.head()) not in (mark, None)
    # What a restored backup does: the same number again, for the same document, a moment later.
    later = sa.update(tables.changes).values(at=tables.changes.c.at + 1e-6)
    ledger.submit(lambda connection: connection.execute(later).close()).result()
    assert documents.mark_of(seq) not in (mark, None)


def test_an_unchanged_document_adds_no_change(ledger: Ledger) -> None:
    seq = ledger.documents.upsert(document("a", source="s1"))
    assert ledger.documents.upsert(document("a", source="s1")) == seq
    assert ledger.documents.upsert(document("a", source="s2")) > seq
    assert ledger.documents.upsert(document("a", "New text.", source="s2")) == ledger.documents.head()
    assert len(ledger.documents.changes_after(0)) == 3


def test_a_batch_appended_twice_is_one_change(ledger: Ledger) -> None:
    first = ledger.documents.append_batch(TENANT, "batches/1", [("a", "sha", "s")], {"year": "number"})
    ledger.documents.delete(TENANT, "a")
    assert ledger.documents.append_batch(TENANT, "batches/1", [("a", "sha", "s")], {"year": "number"}) == first
    assert ledger.documents.states(TENANT, ["a"]) == {}
    assert ledger.documents.append_batch("other", "batches/1", [], {}) > first


def test_a_document_in_a_batch_is_for_the_caller_to_read(ledger: Ledger) -> None:
    seq = ledger.documents.append_batch(TENANT, "batches/1", [("a", "sha", "s")], {})
    state, content = ledger.documents.get(TENANT, "a")
    assert (state.seq, state.batch_uri, content) == (seq, "batches/1", None)


def test_the_same_idempotency_key_gives_the_first_result(ledger: Ledger) -> None:
    documents = ledger.documents
    first = documents.upsert(document("a"), "key-1")
    documents.upsert(document("a", "Changed since."))
    assert documents.upsert(document("a"), "key-1") == first
    assert documents.get(TENANT, "a")[1] == document("a", "Changed since.")
    with pytest.raises(Conflict):
        documents.upsert(document("a", "Other."), "key-1")
    with pytest.raises(Conflict):
        documents.upsert(document("b"), "key-1")
    elsewhere = Document(tenant="other", id="a", title="", text="x")
    assert documents.upsert(elsewhere, "key-1") > first


def test_old_keys_are_forgotten_page_by_page(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "_PAGE", 2)
    documents, began = ledger.documents, time.time()
    firsts = [documents.upsert(document("a", str(n)), f"key-{n}") for n in range(5)]
    assert (documents.old_keys(began), documents.forget_keys(began)) == (0, 0)
    now = time.time() + 1
    assert (documents.old_keys(now), documents.forget_keys(now), documents.forget_keys(now)) == (5, 5, 0)
    assert documents.upsert(document("a", "0"), "key-0") > max(firsts)


def test_what_a_later_change_took_the_place_of_is_forgotten_and_what_is_current_is_not(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superseded, "_PAGE", 2)
    monkeypatch.setattr(superseded, "_PAGE_BYTES", 1)  # a page then has one
    documents, began = ledger.documents, time.time()
    documents.upsert_many([document(name, text=f"{name} old") for name in "abcd"])
    documents.upsert_many([document("a", "a new"), document("a", "a newest")])
    documents.append_batch(TENANT, "batches/1", [("b", "sha", "")], {})
    documents.delete(TENANT, "c")
    documents.upsert(Document(tenant="other", id="d", title="", text="of another tenant"))
    marks = [documents.mark_of(seq) for seq in range(documents.head() + 1)]
    now = time.time() + 1
    assert (documents.old_texts(began), documents.forget_texts(began)) == (0, 0)
    assert (documents.old_texts(now), documents.forget_texts(now), documents.old_texts(now)) == (4, 4, 0)
    assert [documents.mark_of(seq) for seq in range(documents.head() + 1)] == marks
    left = [(one.document_id, one.document and one.document.text) for one in documents.changes_after(0)]
    assert left == [
        ("a", None), ("b", None), ("c", None), ("d", "d old"), ("a", None), ("a", "a newest"), ("", None), ("c", None),
        ("d", "of another tenant"),
    ]  # fmt: skip
    assert documents.get(TENANT, "a")[1] == document("a", "a newest")
    assert len(documents.changes_after(0, max_bytes=1)) == 3  # what is gone takes no room in a read


def test_a_page_of_what_is_forgotten_is_found_without_what_is_not_due(migrated_sqlite: Path) -> None:
    """The writer waits for it, and what was replaced today may be a hundred thousand times as much."""
    page = str(superseded._page(1.0).compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with closing(sqlite3.connect(f"file:{migrated_sqlite}?mode=ro", uri=True)) as ledger:
        plan = [row[3] for row in ledger.execute("EXPLAIN QUERY PLAN " + page)]
    assert plan[0].startswith("SEARCH superseded USING COVERING INDEX superseded_at (at<?)")
    assert not [step for step in plan if "TEMP B-TREE" in step]


def test_nothing_makes_it_forget_a_text_that_is_current(ledger: Ledger) -> None:
    seq = ledger.documents.upsert(document("a"))
    ledger.submit(lambda connection: superseded.mark(connection, [seq])).result()
    ledger.documents.forget_texts(math.inf)
    assert ledger.documents.get(TENANT, "a")[1] == document("a")


def test_a_batch_leads_to_what_is_left_of_it(ledger: Ledger) -> None:
    documents = ledger.documents
    seq = documents.append_batch(TENANT, "batches/1", [(name, "sha", "") for name in "abc"], {})
    assert documents.thinned_batches() == []
    documents.delete(TENANT, "a")
    documents.delete_many(TENANT, ["c"])
    (batch,) = documents.thinned_batches()
    assert (batch.seq, batch.uri, documents.ids_at(seq)) == (seq, "batches/1", {"b"})
    mark = documents.mark_of(seq)
    assert not documents.lead_elsewhere(batch, "batches/2", frozenset("ac"))  # b would be lost
    assert documents.lead_elsewhere(batch, "batches/2", frozenset("b"))
    assert not documents.lead_elsewhere(batch, "batches/3", frozenset("b"))  # somebody was quicker
    assert (documents.batch_at(seq), documents.batches(), documents.thinned_batches()) == (
        "batches/2", {"batches/2"}, [],
    )  # fmt: skip
    assert documents.get(TENANT, "b")[0].batch_uri == documents.changes_after(0)[0].batch_uri == "batches/2"
    assert documents.append_batch(TENANT, "batches/1", [("b", "sha", "")], {}) == seq
    documents.upsert(document("b"))
    (batch,) = documents.thinned_batches()
    assert documents.lead_elsewhere(batch, "", frozenset())
    assert (documents.batch_at(seq), documents.batches(), documents.thinned_batches()) == ("", frozenset(), [])
    assert documents.mark_of(seq) == mark


def test_what_a_batch_loses_while_the_rest_is_written_is_remembered(ledger: Ledger) -> None:
    documents = ledger.documents
    documents.append_batch(TENANT, "batches/1", [(name, "sha", "") for name in "abc"], {})
    documents.delete(TENANT, "a")
    (batch,) = documents.thinned_batches()
    documents.delete(TENANT, "b")
    began = time.time()
    assert documents.lead_elsewhere(batch, "batches/2", frozenset("bc"))
    (again,) = documents.thinned_batches()
    assert (again.uri, again.at >= began) == ("batches/2", True)


def test_all_batches_that_were_recorded_are_known(ledger: Ledger) -> None:
    assert ledger.documents.batches() == frozenset()
    ledger.documents.upsert(document("a"))
    for tenant, uri in ((TENANT, "batches/1"), ("other", "batches/2")):
        ledger.documents.append_batch(tenant, uri, [("b", "0" * 64, "")], {})
    assert ledger.documents.batches() == {"batches/1", "batches/2"}


def test_a_key_belongs_to_the_whole_of_a_batch(ledger: Ledger) -> None:
    both = [document("a"), document("b")]
    seq = ledger.documents.upsert_many(both, "key")
    assert ledger.documents.upsert_many(both, "key") == seq
    with pytest.raises(Conflict):
        ledger.documents.upsert_many(both[:1], "key")


def test_deleting_what_is_not_there(ledger: Ledger) -> None:
    ledger.documents.upsert(document("a"))
    with pytest.raises(NotFound):
        ledger.documents.delete(TENANT, "b")
    with pytest.raises(NotFound):
        ledger.documents.delete("other", "a")
    with pytest.raises(NotFound):
        ledger.documents.get("other", "a")
    assert ledger.documents.delete_many(TENANT, ["b"]) == ledger.documents.head() == 1


@pytest.mark.parametrize("many", [False, True])
def test_what_is_deleted_leaves_quarantine(ledger: Ledger, many: bool) -> None:
    ledger.documents.upsert_many([document("a", source="s"), document("b", source="s"), document("c")])
    bad = [Quarantined(tenant=TENANT, source=s, document_id=i, reason="-", at=1.0) for s, i in ("sa", "sb", "ta")]
    ledger.quarantine.add_many(bad)
    if many:
        ledger.documents.delete_many(TENANT, ["a", "c"])
    else:
        ledger.documents.delete(TENANT, "a")
    assert ledger.quarantine.list(TENANT) == bad[1:]


def test_what_is_in_quarantine_is_a_change_when_it_is_sent_again(ledger: Ledger) -> None:
    first = ledger.documents.upsert(document("a"))
    assert ledger.documents.upsert(document("a")) == first
    ledger.quarantine.add_many([Quarantined(tenant=TENANT, source="", document_id="a", reason="-", at=1.0)])
    again = ledger.documents.upsert(document("a"), "key")
    assert (again > first, ledger.documents.upsert(document("a"), "key")) == (True, again)
    ledger.quarantine.clear(TENANT, "", ["a"])
    assert ledger.documents.upsert(document("a")) == again


def test_source_and_content_are_found_again_within_the_tenant(ledger: Ledger) -> None:
    entries = [(f"d{number:04}", f"sha-{number % 1200}", "s3://b/x") for number in range(1250)]
    ledger.documents.append_batch(TENANT, "batches/1", entries, {})
    ledger.documents.append_batch("other", "batches/2", [("z", "sha-1", "s3://b/x")], {})
    expected = [f"d{number:04}" for number in range(1250)]
    assert [list(ledger.documents.ids_of_source(TENANT, "s3://b/x", seq)) for seq in (1, 0)] == [expected, []]
    assert list(ledger.documents.ids_of_source(TENANT, "s3://b", 1)) == []
    found = ledger.documents.find_content(TENANT, [f"sha-{number}" for number in range(2000)])
    assert found == {f"sha-{number}": f"d{number:04}" for number in range(1200)}
    holders = ledger.documents.holders(TENANT, [f"sha-{number}" for number in range(40, 1200)])
    assert sorted(holders) == sorted((sha, name, source, 1) for name, sha, source in entries if int(sha[4:]) >= 40)
    assert (ledger.documents.count(TENANT), ledger.documents.total()) == (1250, 1251)


def test_a_read_of_changes_is_bounded_in_bytes_but_never_stuck(ledger: Ledger) -> None:
    ledger.documents.upsert_many([document(name, "x" * 1000) for name in "abcd"])
    assert [c.document_id for c in ledger.documents.changes_after(0, max_bytes=2500)] == ["a", "b"]
    assert [c.document_id for c in ledger.documents.changes_after(2, max_bytes=1)] == ["c"]


def test_the_first_value_fixes_a_fields_type(ledger: Ledger) -> None:
    ledger.documents.upsert(document("a", metadata={"year": 1999, "tags": ("x",), "open": True, "lang": "de"}))
    ledger.documents.upsert(document("b", metadata={"year": 1999.5, "tags": ()}))
    expected = {"lang": "string", "open": "boolean", "tags": "strings", "year": "number"}
    assert ledger.documents.schema(TENANT) == expected
    with pytest.raises(InvalidInput, match="'year' is of type number, but a value of type string came"):
        ledger.documents.upsert_many([document("c", metadata={"new": 1}), document("d", metadata={"year": "1999"})])
    with pytest.raises(InvalidInput, match="'open' is of type boolean, but a value of type number came"):
        ledger.documents.append_batch(TENANT, "batches/1", [("e", "sha", "")], {"open": "number"})
    assert ledger.documents.schema(TENANT) == expected  # nothing of a refused write remains
    assert ledger.documents.states(TENANT, ["c", "d", "e"]) == {}
    assert ledger.documents.schema("other") == {}


def test_a_tenant_has_so_many_fields_and_no_more(ledger: Ledger) -> None:
    names = [f"f{number:04}" for number in range(MAX_FIELDS)]
    ledger.documents.append_batch(TENANT, "batches/1", [("a", "sha", "")], dict.fromkeys(names[:-1], "number"))
    both = [document("b", metadata={names[-1]: 1}), document("c", metadata={names[0]: 1, "one_more": 1})]
    with pytest.raises(InvalidInput, match=r"'one_more'.* 1001.* may have 1000"):
        ledger.documents.upsert_many(both)
    assert len(ledger.documents.schema(TENANT)) == MAX_FIELDS - 1  # nothing of a refused write remains
    ledger.documents.upsert(both[0])
    ledger.documents.upsert(document("d", metadata={names[0]: 2, names[-1]: 2}))
    with pytest.raises(InvalidInput, match="may have 1000"):
        ledger.documents.append_batch(TENANT, "batches/2", [("e", "sha", "")], {"one_more": "number"})
    assert len(ledger.documents.schema(TENANT)) == MAX_FIELDS
    ledger.documents.append_batch("other", "batches/3", [("a", "sha", "")], {"one_more": "number"})


@pytest.mark.parametrize(
    "broken",
    [
        {"id": "../etc"},
        {"id": "a\0"},
        {"text": "\ud800"},
        {"source": "a\0b"},
        {"metadata": {"x": math.nan}},
        {"metadata": {"x": None}},
        {"metadata": {"x": ["a"]}},
        {"metadata": {"x\0": "a"}},
    ],
)
def test_what_cannot_be_stored_is_refused(ledger: Ledger, broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ledger.documents.upsert(Document(**{"tenant": TENANT, "id": "a", "title": "", "text": "x"} | broken))
    assert ledger.documents.head() == 0


def test_a_write_is_of_one_tenant(ledger: Ledger) -> None:
    with pytest.raises(InvalidInput):
        ledger.documents.upsert_many([document("a"), Document(tenant="other", id="a", title="", text="")])
    with pytest.raises(InvalidInput):
        ledger.documents.upsert_many([])
