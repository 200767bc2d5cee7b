"""PUT, GET, DELETE and batches: durable, idempotent, all or none."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.product import Product


@pytest.fixture(scope="module")
def client(product: Product) -> Iterator[httpx.Client]:
    _, client = product.new_tenant()
    with client:
        yield client


def found(client: httpx.Client, query: str, seq: int) -> list[str]:
    response = client.post(
        "/v1/search", json={"query": query, "mode": "lexical", "min_seq": seq, "timeout_seconds": 30}
    )
    assert response.status_code == 200, response.text
    return [hit["document_id"] for hit in response.json()["hits"]]


@pytest.mark.parametrize("name", ["plain", "with/slash", "ünïcode 漢字", "query?and#hash", "100%25", "a..b", ".hidden"])
def test_what_was_put_comes_back(client: httpx.Client, name: str) -> None:
    body = {"title": "T", "text": "Some text.", "metadata": {"n": 1.5, "tags": ["a"]}, "groups": []}
    url = f"/v1/documents/{quote(name)}"
    put = client.put(url, json=body)
    assert put.status_code == 200, put.text
    got = client.get(url).json()
    assert {name: got[name] for name in body} == body
    assert (got["id"], got["seq"]) == (name, put.json()["seq"])
    assert client.delete(url).status_code == 200
    assert client.get(url).status_code == 404


def test_a_deleted_document_is_not_found_any_more(client: httpx.Client) -> None:
    seq = client.put("/v1/documents/gone", json={"text": "xylophone"}).json()["seq"]
    assert found(client, "xylophone", seq) == ["gone"]
    seq = client.delete("/v1/documents/gone").json()["seq"]
    assert found(client, "xylophone", seq) == []
    assert client.delete("/v1/documents/gone").status_code == 404


def test_a_new_version_replaces_the_old_one(client: httpx.Client) -> None:
    client.put("/v1/documents/v", json={"text": "marimba"})
    seq = client.put("/v1/documents/v", json={"text": "glockenspiel"}).json()["seq"]
    assert (found(client, "marimba", seq), found(client, "glockenspiel", seq)) == ([], ["v"])


def test_waiting_until_searchable(client: httpx.Client) -> None:
    response = client.put("/v1/documents/w?wait_for=searchable", json={"text": "vibraphone"})
    assert response.json()["searchable"] is True
    assert found(client, "vibraphone", 0) == ["w"]


def test_the_same_content_again_is_no_change(client: httpx.Client) -> None:
    first = client.put("/v1/documents/same", json={"text": "celesta"}).json()["seq"]
    assert client.put("/v1/documents/same", json={"text": "celesta"}).json()["seq"] == first


def test_an_idempotency_key_counts_once(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.put("/v1/documents/i", json={"text": "one"}, headers=key).json()["seq"]
    client.put("/v1/documents/i", json={"text": "two"})
    assert client.put("/v1/documents/i", json={"text": "one"}, headers=key).json()["seq"] == first
    assert client.get("/v1/documents/i").json()["text"] == "two"
    other = client.put("/v1/documents/i", json={"text": "three"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (409, "urn:kaizen:conflict")


def test_a_batch_is_stored_whole_or_not_at_all(client: httpx.Client) -> None:
    good = [{"id": f"b{i}", "text": f"balalaika number {i}"} for i in range(20)]
    seq = client.post("/v1/documents:batch", json={"documents": good}).json()["seq"]
    assert len(found(client, "balalaika", seq)) == 10
    assert client.get("/v1/documents/b19").json()["text"] == "balalaika number 19"
    bad = [{"id": "c0", "text": "fine"}, {"id": "../c1", "text": "not fine"}]
    assert client.post("/v1/documents:batch", json={"documents": bad}).status_code == 422
    assert client.get("/v1/documents/c0").status_code == 404


def test_a_field_keeps_its_type(client: httpx.Client) -> None:
    assert client.put("/v1/documents/t1", json={"text": "x", "metadata": {"age": 3}}).status_code == 200
    refused = client.put("/v1/documents/t2", json={"text": "x", "metadata": {"age": "three"}})
    assert refused.status_code == 422
    assert "age" in refused.json()["detail"]
    assert client.get("/v1/documents/t2").status_code == 404
