"""Searching over HTTP: modes, filters, units, explanations, and reading one's own writes."""

from __future__ import annotations

import pytest

from tests.product import Product
from tests.ray.conftest import Handbook

ALL = {"holidays", "pumps", "lathe", "travel"}


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_each_mode_finds_the_document(handbook: Handbook, mode: str) -> None:
    answer = handbook.search("how often must I grease the bearings of a pump", mode=mode)
    best = answer["hits"][0]
    assert (best["document_id"], best["position"], best["chunk_id"]) == ("pumps", 1, "pumps#0")
    assert best["text"] == best["text"][: best["end"] - best["start"]]
    assert (answer["coverage"], answer["degraded"]) == (1, [])
    assert answer["index_seq"] >= handbook.seq
    assert {"embed", "shards", "rank", "log", "total"} <= set(answer["timings_ms"])


def test_meaning_without_a_common_word_is_found_by_vectors_only(handbook: Handbook) -> None:
    query = "vacation entitlement"
    assert handbook.found(query, mode="dense")[0] == "holidays"
    assert "holidays" not in handbook.found(query, mode="lexical")


def test_words_are_found_without_vectors(handbook: Handbook) -> None:
    assert handbook.found("goggles", mode="lexical") == ["lathe"]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "kind", "equals": "manual"}, {"pumps", "lathe"}),
        ({"field": "kind", "in": ["manual", "recipe"]}, {"pumps", "lathe"}),
        ({"field": "year", "range": {"gte": 2021, "lt": 2024}}, {"lathe", "travel"}),
        ({"field": "year", "range": {"gt": 2021}}, {"lathe", "holidays"}),
        ({"field": "draft", "equals": True}, {"lathe"}),
        ({"not": {"field": "draft", "equals": True}}, {"holidays", "pumps", "travel"}),
        ({"field": "tags", "equals": "people"}, {"holidays", "lathe"}),
        ({"and": [{"field": "kind", "equals": "rule"}, {"field": "year", "range": {"lte": 2021}}]}, {"travel"}),
        ({"or": [{"field": "year", "equals": 2019}, {"field": "tags", "equals": "leave"}]}, {"pumps", "holidays"}),
        ({"and": [{"field": "kind", "equals": "manual"}, {"not": {"field": "year", "equals": 2019}}]}, {"lathe"}),
        ({"field": "document_id", "equals": "travel"}, {"travel"}),
        ({"field": "year", "range": {"gt": 2030}}, set()),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_a_filter_gives_exactly_what_matches(
    handbook: Handbook, condition: dict[str, object], expected: set[str], mode: str
) -> None:
    assert set(handbook.found("the", mode=mode, filter=condition)) == expected


def test_a_filter_never_costs_results(handbook: Handbook) -> None:
    """k that match are there, so k come back, however far they are from the query."""
    found = handbook.found("grease the water pump", k=2, filter={"field": "kind", "equals": "rule"})
    assert set(found) == {"holidays", "travel"}


def test_documents_count_once_by_their_best_chunk(product: Product) -> None:
    _, client = product.new_tenant()
    filler = " ".join(f"Paragraph {i} speaks of nothing in particular." for i in range(120))
    with client:
        for name in ("long", "longer"):
            body = {"text": f"Zebras graze here. {filler} Zebras drink there. {filler} Zebras sleep, says {name}."}
            seq = client.put(f"/v1/documents/{name}", json=body).json()["seq"]
        wanted = {"query": "zebras", "mode": "lexical", "min_seq": seq, "timeout_seconds": 30}
        chunks = client.post("/v1/search", json=wanted).json()["hits"]
        documents = client.post("/v1/search", json={**wanted, "unit": "document"}).json()["hits"]
    assert len(chunks) > 2
    assert sorted(hit["document_id"] for hit in documents) == ["long", "longer"]
    best = {name: max(hit["score"] for hit in chunks if hit["document_id"] == name) for name in ("long", "longer")}
    assert {hit["document_id"]: hit["score"] for hit in documents} == best


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_an_explanation_adds_up_to_the_score(handbook: Handbook, mode: str) -> None:
    hits = handbook.search("wear goggles at the lathe", mode=mode, explain=True)["hits"]
    assert hits
    for hit in hits:
        why = hit["explain"]
        assert why["dense_part"] + why["lexical_part"] == pytest.approx(hit["score"], abs=1e-9)
    matched = hits[0]["explain"]["matched_terms"]
    assert (matched == {}) == (mode == "dense")
    assert mode == "dense" or matched["lath"] == 4  # the stem; twice in the text, and the title counts twice
    assert handbook.search("lathe")["hits"][0]["explain"] is None


def test_a_search_sees_the_write_that_came_before_it(product: Product) -> None:
    _, client = product.new_tenant()
    with client:
        for number in range(5):
            text = f"The door code is {1000 + number}."
            seq = client.put("/v1/documents/door", json={"text": text}).json()["seq"]
            body = {"query": "door code", "min_seq": seq, "timeout_seconds": 30}
            answer = client.post("/v1/search", json=body).json()
            assert [hit["text"] for hit in answer["hits"]] == [text]
            assert answer["index_seq"] >= seq


def test_a_change_that_there_is_not_is_not_waited_for(handbook: Handbook) -> None:
    response = handbook.client.post("/v1/search", json={"query": "x", "min_seq": 10**9, "timeout_seconds": 30})
    assert (response.status_code, response.json()["type"]) == (422, "urn:kaizen:invalid-input")
    assert response.elapsed.total_seconds() < 10


@pytest.mark.parametrize(("seconds", "hurried"), [(1e-6, True), (30, False)])
def test_who_would_not_wait_is_on_record(handbook: Handbook, seconds: float, hurried: bool) -> None:
    """What a search lacks whose caller gave it no time must not be held against the release."""
    answer = handbook.search("pump", timeout_seconds=seconds, min_seq=0)
    assert (answer["coverage"] < 1, handbook.impression(answer["impression_id"]).hurried) == (hurried, hurried)
