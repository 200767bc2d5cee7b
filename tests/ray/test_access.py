"""Who may see and do what: tenants, groups, scopes, keys."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from kaizen.security.keys import Secret
from tests.product import Product, eventually
from tests.ray.conftest import Handbook

REVOKED_WITHIN_SECONDS = 2.0


@pytest.fixture(scope="module")
def outsider(product: Product) -> Iterator[httpx.Client]:
    """A client of a tenant that has one document of its own."""
    _, client = product.new_tenant()
    with client:
        client.put("/v1/documents/own?wait_for=searchable", json={"text": "The chairman of the club is Bob."})
        yield client


@pytest.fixture(scope="module")
def director(product: Product, handbook: Handbook) -> Iterator[httpx.Client]:
    with product.client(product.new_key(handbook.tenant, groups=["board", "staff"])) as client:
        yield client


QUESTION = "what does the chairman of the board earn"


def hits(client: httpx.Client, query: str, **fields: object) -> list[dict[str, object]]:
    response = client.post("/v1/search", json={"query": query, "k": 100, **fields})
    assert response.status_code == 200
    found: list[dict[str, object]] = response.json()["hits"]
    return found


def test_the_group_sees_its_documents(director: httpx.Client, handbook: Handbook) -> None:
    assert hits(director, QUESTION)[0]["document_id"] == "salaries"
    assert director.get("/v1/documents/salaries").status_code == 200
    assert "300000" in director.post("/v1/answer", json={"question": QUESTION, "timeout_seconds": 60}).json()["answer"]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_others_of_the_tenant_do_not(handbook: Handbook, mode: str) -> None:
    assert "salaries" not in handbook.found(QUESTION, mode=mode, k=100)
    condition = {"field": "document_id", "equals": "salaries"}
    assert handbook.found(QUESTION, mode=mode, filter=condition) == []
    assert handbook.found(QUESTION, mode=mode, filter={"not": {"field": "document_id", "equals": "travel"}}, k=100)
    assert handbook.client.get("/v1/documents/salaries").status_code == 404


def test_an_answer_holds_nothing_of_what_the_asker_may_not_see(handbook: Handbook, outsider: httpx.Client) -> None:
    for client in (handbook.client, outsider):
        answer = client.post("/v1/answer", json={"question": QUESTION, "timeout_seconds": 60}).json()
        assert "300000" not in answer["answer"]
        assert "salaries" not in {citation["document_id"] for citation in answer["citations"]}


def test_no_tenant_sees_anothers_documents(handbook: Handbook, outsider: httpx.Client) -> None:
    assert {hit["document_id"] for hit in hits(outsider, "the office lathe pump leave board")} == {"own"}
    assert "own" not in handbook.found("chairman of the club", k=100)
    for name in ("holidays", "salaries"):
        refused = outsider.get(f"/v1/documents/{name}")
        assert refused.status_code == 404
        assert outsider.delete(f"/v1/documents/{name}").status_code == 404
    assert handbook.client.get("/v1/documents/holidays").status_code == 200


def test_a_document_that_is_not_there_looks_like_one_that_may_not_be_seen(handbook: Handbook) -> None:
    hidden, missing = (handbook.client.get(f"/v1/documents/{name}") for name in ("salaries", "nothing"))
    assert (hidden.status_code, hidden.json()) == (missing.status_code, missing.json())


def test_writing_an_id_of_another_tenant_makes_ones_own(handbook: Handbook, outsider: httpx.Client) -> None:
    outsider.put("/v1/documents/pumps", json={"text": "Mine."})
    assert handbook.client.get("/v1/documents/pumps").json()["title"] == "Pump maintenance"
    assert outsider.delete("/v1/documents/pumps").status_code == 200
    assert handbook.client.get("/v1/documents/pumps").status_code == 200


def test_scores_of_vectors_tell_nothing_of_other_tenants(product: Product, handbook: Handbook) -> None:
    """The score of one's own document is the same whatever others have."""
    _, alone = product.new_tenant()
    with alone:
        alone.put("/v1/documents/a?wait_for=searchable", json={"text": "Every bassoon needs a reed."})
        before = hits(alone, "bassoon reed", explain=True)
        _, loud = product.new_tenant()
        with loud:
            documents = [{"id": f"l{i}", "text": "bassoon " * (i + 1)} for i in range(30)]
            loud.post("/v1/documents:batch?wait_for=searchable", json={"documents": documents})
        assert hits(alone, "bassoon reed", explain=True) == before


def test_groups_of_one_tenant_mean_nothing_in_another(product: Product, handbook: Handbook) -> None:
    tenant, client = product.new_tenant()
    client.close()
    with product.client(product.new_key(tenant, groups=["board"])) as stranger:
        assert hits(stranger, QUESTION) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "scope"),
    [
        ("POST", "/v1/search", {"query": "x"}, "search"),
        ("POST", "/v1/answer", {"question": "x"}, "search"),
        ("GET", "/v1/documents/holidays", None, "search"),
        ("GET", "/v1/releases", None, "search"),
        ("POST", "/v1/feedback", {"impression_id": "imp_x", "kind": "comment", "text": "x"}, "feedback"),
        ("PUT", "/v1/documents/new", {"text": "x"}, "write"),
        ("DELETE", "/v1/documents/new", None, "write"),
        ("POST", "/v1/documents:batch", {"documents": [{"id": "a", "text": "x"}]}, "write"),
        ("GET", "/metrics", None, "admin"),
        ("GET", "/v1/status", None, "admin"),
    ],
)
def test_a_key_without_the_scope_is_refused(
    product: Product, handbook: Handbook, method: str, path: str, body: object, scope: str
) -> None:
    others = [other for other in ("search", "feedback", "write", "admin") if other != scope]
    key = product.new_key(handbook.tenant, scopes=others)  # type: ignore[arg-type]
    with product.client(key) as client:
        refused = client.request(method, path, json=body)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:kaizen:not-allowed")
    assert scope in refused.json()["advice"]
    with httpx.Client(base_url=product.state.url, trust_env=False) as nobody:
        assert nobody.request(method, path, json=body).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer kz_",
        "Bearer kz_000000000000_" + "x" * 43,
        "Basic dXNlcjpwYXNz",
        "Bearer " + "x" * 600,
        "kz_",
    ],
)
def test_a_wrong_key_is_a_401(product: Product, header: str) -> None:
    refused = httpx.post(
        f"{product.state.url}/v1/search", json={"query": "x"}, headers={"Authorization": header}, trust_env=False
    )
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.headers["content-type"] == "application/problem+json"


def test_the_right_id_with_another_secret_is_a_401(product: Product) -> None:
    right = product.key
    wrong = right[:-1] + ("A" if right[-1] != "A" else "B")
    with product.client(wrong) as client:
        assert client.get("/v1/releases").status_code == 401


def test_a_revoked_key_stops_working_within_two_seconds(product: Product, handbook: Handbook) -> None:
    key = product.new_key(handbook.tenant)
    with product.client(key) as client:
        for _ in range(10):  # both replicas know it now
            assert client.get("/v1/releases").status_code == 200
        product.parts.ledger.keys.revoke(Secret(key).key_id)
        revoked = time.monotonic()
        eventually(lambda: client.get("/v1/releases").status_code == 401, 10, "the key is refused")
        while time.monotonic() < revoked + REVOKED_WITHIN_SECONDS:
            client.get("/v1/releases")  # one of the two replicas may still remember it until then
        assert {client.get("/v1/releases").status_code for _ in range(10)} == {401}
