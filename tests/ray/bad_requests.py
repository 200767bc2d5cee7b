"""Requests that no careful caller sends, the status that each must get, and what an answer to one looks like."""

from __future__ import annotations

import httpx

SEARCH = "/v1/search"


def deep_filter(depth: int) -> dict[str, object]:
    node: dict[str, object] = {"field": "kind", "equals": "rule"}
    for _ in range(depth):
        node = {"not": node}
    return node


def check_problem(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:kaizen:")
    assert all(problem[name] for name in ("title", "detail", "advice"))


# Name, body of a search, status.
RAW: list[tuple[str, str | bytes, int]] = [
    ("not JSON", "{", 400),
    ("empty", "", 422),
    ("NaN", '{"query": "x", "timeout_seconds": NaN}', 422),
    ("Infinity", '{"query": "x", "timeout_seconds": Infinity}', 422),
    ("1e400", '{"query": "x", "timeout_seconds": 1e400}', 422),
    ("1e400 as k", '{"query": "x", "k": 1e400}', 422),
    ("bad UTF-8", b'{"query": "\xff\xfe"}', 400),
    ("a lone surrogate", '{"query": "\\ud800"}', 422),
    ("a list", "[1, 2]", 422),
    ("nested a thousand deep", '{"query": "x", "filter": ' + '{"not": ' * 1000 + "1" + "}" * 1000 + "}", 400),
    ("nested ten thousand deep", "[" * 10_000 + "]" * 10_000, 400),
]

# Fields of a search, status.
FIELDS: list[tuple[dict[str, object], int]] = [
    ({"k": 0}, 422),
    ({"k": 10**9}, 422),
    ({"k": -1}, 422),
    ({"k": "5"}, 422),
    ({"k": 2.5}, 422),
    ({"k": True}, 422),
    ({"query": ""}, 422),
    ({"query": "x" * 5000}, 422),
    ({"query": None}, 422),
    ({"mode": "psychic"}, 422),
    ({"unit": "page"}, 422),
    ({"nonsense": 1}, 422),
    ({"min_seq": -1}, 422),
    ({"timeout_seconds": 0}, 422),
    ({"timeout_seconds": 10**6}, 422),
    ({"filter": {}}, 422),
    ({"filter": {"field": "kind"}}, 422),
    ({"filter": {"field": "kind", "equals": "x", "or": []}}, 422),
    ({"filter": {"field": "unheard_of", "equals": 1}}, 400),
    ({"filter": {"field": "year", "equals": "2024"}}, 422),
    ({"filter": {"field": "year", "range": {"gte": 1, "lt": "b"}}}, 422),
    ({"filter": {"field": "year", "range": {}}}, 422),
    ({"filter": {"field": "kind", "in": []}}, 422),
    ({"filter": {"field": "kind", "in": ["x"] * 5000}}, 422),
    ({"filter": {"and": [{"field": "kind", "equals": "rule"}] * 500}}, 422),
    ({"filter": deep_filter(50)}, 422),
    ({"filter": {"field": "year", "equals": 2**60}}, 422),
]

# Ids of documents.
IDS = ["../etc", "a/../../b", "..", "..\\b", "a\0b", "\n", "a\nb", " ", " a", "x" * 600, "\x7f"]

# Bodies of a document, status.
DOCUMENTS: list[tuple[dict[str, object], int]] = [
    ({}, 422),
    ({"text": ""}, 422),
    ({"text": "x", "metadata": {"a": None}}, 422),
    ({"text": "x", "metadata": {"a": {"b": 1}}}, 422),
    ({"text": "x", "metadata": {"a": [1, 2]}}, 422),
    ({"text": "x", "metadata": {"": 1}}, 422),
    ({"text": "x", "metadata": {"a\u0000b": 1}}, 422),
    ({"text": "x", "groups": "board"}, 422),
    ({"text": "x", "groups": [""]}, 422),
    ({"text": "x", "id": "y"}, 422),
    ({"text": "x", "tenant": "default"}, 422),
    ({"text": "x", "title": "t" * 5000}, 422),
]
