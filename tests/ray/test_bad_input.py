"""What no careful caller sends: each a clear problem that says what to do, and the service goes on."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import httpx
import pytest

from tests.product import Product
from tests.ray.bad_requests import DOCUMENTS, FIELDS, IDS, RAW, SEARCH, check_problem
from tests.ray.conftest import Handbook


@pytest.mark.parametrize(("body", "status"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
def test_bodies_that_are_no_request(handbook: Handbook, body: str | bytes, status: int) -> None:
    response = handbook.client.post(SEARCH, content=body, headers={"content-type": "application/json"})
    check_problem(response, status)


@pytest.mark.parametrize(("fields", "status"), FIELDS, ids=lambda value: str(value)[:60])
def test_searches_that_make_no_sense(handbook: Handbook, fields: dict[str, object], status: int) -> None:
    check_problem(handbook.client.post(SEARCH, json={"query": "x", **fields}), status)


def test_an_unknown_field_gets_the_nearest_name(handbook: Handbook) -> None:
    response = handbook.client.post(SEARCH, json={"query": "x", "filter": {"field": "yaer", "equals": 2024}})
    check_problem(response, 400)
    assert (response.json()["type"], "'year'" in response.json()["advice"]) == ("urn:kaizen:unknown-field", True)


def test_a_problem_does_not_repeat_what_was_sent(handbook: Handbook) -> None:
    response = handbook.client.post(SEARCH, json={"query": "x", "mode": "my password is hunter2"})
    check_problem(response, 422)
    assert "hunter2" not in response.text


def test_a_huge_query_of_allowed_length_is_answered(handbook: Handbook) -> None:
    assert handbook.search("pump " * 800 + "漢" * 90)["coverage"] == 1


def test_nul_and_control_characters_in_a_query_are_only_text(handbook: Handbook) -> None:
    assert handbook.found("pump\u0000 bearings\u0007 \u202e")[0] == "pumps"


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_a_413(product: Product, handbook: Handbook, declared: bool) -> None:
    limit = product.parts.settings.server.max_body_bytes
    body = json.dumps({"text": "x" * limit}).encode()
    parts = (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    response = handbook.client.put(
        "/v1/documents/big", content=body if declared else parts, headers={"content-type": "application/json"}
    )
    check_problem(response, 413)
    assert handbook.client.get("/v1/documents/big").status_code == 404


@pytest.mark.parametrize("name", IDS, ids=lambda name: repr(name)[:20])
def test_ids_that_climb_or_cannot_be_read(handbook: Handbook, name: str) -> None:
    escaped = quote(name, safe="").replace(".", "%2E")  # else the client would tidy the path up
    refused = handbook.client.put(f"/v1/documents/{escaped}", json={"text": "x"})
    check_problem(refused, 422)
    batch = {"documents": [{"id": name, "text": "x"}]}
    check_problem(handbook.client.post("/v1/documents:batch", json=batch), 422)


@pytest.mark.parametrize(("body", "status"), DOCUMENTS, ids=lambda value: str(value)[:50])
def test_documents_that_cannot_be_stored(handbook: Handbook, body: dict[str, object], status: int) -> None:
    check_problem(handbook.client.put("/v1/documents/bad", json=body), status)
    assert handbook.client.get("/v1/documents/bad").status_code == 404


@pytest.mark.parametrize("value", ["NaN", "1e400", "-Infinity"])
def test_numbers_that_are_none_are_not_stored(handbook: Handbook, value: str) -> None:
    body = f'{{"text": "x", "metadata": {{"n": {value}}}}}'
    response = handbook.client.put("/v1/documents/bad", content=body, headers={"content-type": "application/json"})
    check_problem(response, 422)


@pytest.mark.parametrize("field", ["text", "title"])
def test_a_nul_in_a_document_is_refused(handbook: Handbook, field: str) -> None:
    response = handbook.client.put("/v1/documents/bad", json={"text": "x", field: "before\0after"})
    check_problem(response, 422)
    assert "NUL" in response.json()["detail"]


def test_a_lone_surrogate_in_a_text_is_refused(handbook: Handbook) -> None:
    response = handbook.client.put(
        "/v1/documents/bad", content='{"text": "\\ud800"}', headers={"content-type": "application/json"}
    )
    check_problem(response, 422)


def test_a_batch_over_the_limit_is_a_413(product: Product, handbook: Handbook) -> None:
    most = product.parts.settings.server.max_batch_documents
    documents = [{"id": str(i), "text": "x"} for i in range(most + 1)]
    check_problem(handbook.client.post("/v1/documents:batch", json={"documents": documents}), 413)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("DELETE", SEARCH, 405), ("GET", "/v1/search", 405)]
)
def test_paths_and_methods_that_are_not_there(handbook: Handbook, method: str, path: str, status: int) -> None:
    check_problem(handbook.client.request(method, path), status)


def test_a_405_names_all_methods_of_the_path(handbook: Handbook) -> None:
    response = handbook.client.request("PATCH", "/v1/documents/holidays")
    check_problem(response, 405)
    assert response.headers["allow"] == "DELETE, GET, PUT"


@pytest.mark.parametrize(("path", "status"), [("/v1/releases/", 404), ("/v1/rollout/history?limitt=3", 400)])
def test_what_is_nearly_a_path_or_a_parameter_is_refused(handbook: Handbook, path: str, status: int) -> None:
    check_problem(handbook.client.get(path), status)


def test_a_parameter_that_is_not_there_names_the_nearest(handbook: Handbook) -> None:
    response = handbook.client.put("/v1/documents/x?wait_four=searchable", json={"text": "x"})
    check_problem(response, 400)
    assert response.json()["advice"] == "Did you mean 'wait_for'?"
    assert handbook.client.get("/v1/documents/x").status_code == 404


@pytest.mark.parametrize("kind", ["text/plain", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_a_415(handbook: Handbook, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    response = handbook.client.post(SEARCH, content=b'{"query": "x"}', headers=headers)
    check_problem(response, 415)
    assert "application/json" in response.json()["advice"]


def test_five_may_be_written_as_a_fraction(handbook: Handbook) -> None:
    assert len(handbook.search("pump", k=2.0)["hits"]) == 2


@pytest.mark.parametrize("fields", [{"explain": "yes"}, {"timeout_seconds": "5"}, {"min_seq": True}])
def test_text_that_looks_like_another_type_is_not_it(handbook: Handbook, fields: dict[str, object]) -> None:
    check_problem(handbook.client.post(SEARCH, json={"query": "x", **fields}), 422)


@pytest.mark.parametrize("key", ["k" * 256, "caf\xe9"])
def test_an_idempotency_key_is_short_and_plain(handbook: Handbook, key: str) -> None:
    headers = {"idempotency-key": key.encode("latin-1")}
    check_problem(handbook.client.put("/v1/documents/bad", json={"text": "x"}, headers=headers), 422)


def test_the_description_says_how_to_authenticate_and_what_this_server_allows(handbook: Handbook) -> None:
    described = handbook.client.get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert described["paths"]["/v1/search"]["post"]["security"] == [{"key": []}]
    with httpx.Client(base_url=handbook.product.state.url, trust_env=False) as nobody:
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                refused = nobody.request(method, re.sub("{.*?}", "x", path)).status_code == 401
                assert refused == ("security" in operation), (method, path)
    assert described["components"]["schemas"]["SearchRequest"]["properties"]["k"]["maximum"] == 1000
    assert "text/event-stream" in described["paths"]["/v1/answer"]["post"]["responses"]["200"]["content"]
