"""Judgements on what was shown: every kind, counted once, tied to an impression of one's own tenant."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from kaizen.ids import new_id
from tests.product import Product
from tests.ray.conftest import Handbook


@pytest.fixture
def shown(handbook: Handbook) -> dict[str, Any]:
    return handbook.search("who pays for train tickets")


def test_every_kind_is_kept_as_it_was_given(handbook: Handbook, shown: dict[str, Any]) -> None:
    chunk = shown["hits"][0]["chunk_id"]
    given = [
        {"kind": "click", "chunk_id": chunk},
        {"kind": "thumb", "value": -1, "chunk_id": chunk},
        {"kind": "rating", "value": 4},
        {"kind": "comment", "text": "Nice <b>work</b>"},
        {"kind": "correction", "text": "The company pays.", "chunk_id": chunk},
    ]
    for judgement in given:
        response = handbook.client.post("/v1/feedback", json={"impression_id": shown["impression_id"], **judgement})
        assert (response.status_code, response.json()["created"]) == (200, True)
    stored = handbook.product.parts.ledger.feedback.of_impression(handbook.tenant, shown["impression_id"])
    assert [(f.kind, f.chunk_id, f.value, f.text) for f in stored] == [
        ("click", chunk, 1.0, ""),
        ("thumb", chunk, -1.0, ""),
        ("rating", "", 4.0, ""),
        ("comment", "", None, "Nice <b>work</b>"),
        ("correction", chunk, None, "The company pays."),
    ]


def test_the_impression_is_what_was_shown(handbook: Handbook, shown: dict[str, Any]) -> None:
    kept = handbook.impression(shown["impression_id"])
    assert (kept.query, kept.release, kept.index_seq) == (
        "who pays for train tickets", shown["release"], shown["index_seq"],
    )  # fmt: skip
    seen = [(chunk.chunk_id, chunk.position, chunk.score, chunk.propensity) for chunk in kept.shown]
    assert seen == [(hit["chunk_id"], hit["position"], hit["score"], 1.0) for hit in shown["hits"]]


def test_an_idempotency_key_counts_once(handbook: Handbook, shown: dict[str, Any]) -> None:
    body = {"impression_id": shown["impression_id"], "kind": "rating", "value": 5, "idempotency_key": "once"}
    first = handbook.client.post("/v1/feedback", json=body).json()
    again = handbook.client.post("/v1/feedback", json=body).json()
    assert (first["created"], again) == (True, {"feedback_id": first["feedback_id"], "created": False})


def test_an_unknown_impression_is_a_404(handbook: Handbook) -> None:
    body = {"impression_id": "imp_00000000000000000000000000", "kind": "comment", "text": "x"}
    response = handbook.client.post("/v1/feedback", json=body)
    assert (response.status_code, response.json()["type"]) == (404, "urn:kaizen:not-found")


@pytest.mark.parametrize("off_seconds", [0, 3600, -3600])
def test_an_impression_that_is_still_on_its_way_is_waited_for(
    handbook: Handbook, shown: dict[str, Any], off_seconds: int
) -> None:
    """Another gateway showed it, whose clock may be off, and its write has not arrived: four looks within .7 s."""
    ledger = handbook.product.parts.ledger
    moment = time.time() + off_seconds
    with patch.object(time, "time", lambda: moment):
        late = replace(handbook.impression(shown["impression_id"]), id=new_id("imp"))
    body = {"impression_id": late.id, "kind": "comment", "text": "quick"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(handbook.client.post, "/v1/feedback", json=body)
        threading.Event().wait(0.2)
        ledger.impressions.record(late)
        assert answer.result().status_code == 200


def test_of_an_impression_of_a_moment_ago_nobody_says_that_there_is_none(handbook: Handbook) -> None:
    body = {"impression_id": new_id("imp"), "kind": "comment", "text": "quick"}
    never = handbook.client.post("/v1/feedback", json=body)
    assert (never.status_code, "Retry-After" in never.headers) == (503, True), "who may say that nobody showed it?"


def test_an_impression_of_another_tenant_is_as_one_that_is_not_there(
    handbook: Handbook, product: Product, shown: dict[str, Any]
) -> None:
    old = replace(handbook.impression(shown["impression_id"]), id=f"imp_{'0' * 25}1")
    product.parts.ledger.impressions.record(old)
    _, client = product.new_tenant()

    def answer(name: str) -> tuple[int, str]:
        response = client.post("/v1/feedback", json={"impression_id": name, "kind": "rating", "value": 1})
        return response.status_code, response.json()["detail"]

    with client:
        assert answer(old.id) == answer(f"imp_{'0' * 26}") == (404, "There is no impression with this id.")
        assert answer(shown["impression_id"]) == answer(new_id("imp"))


@pytest.mark.parametrize(
    "judgement",
    [
        {"kind": "click"},
        {"kind": "thumb"},
        {"kind": "thumb", "value": 0},
        {"kind": "rating", "value": 4.5},
        {"kind": "rating", "value": 6},
        {"kind": "comment"},
        {"kind": "comment", "text": " "},
        {"kind": "applause", "value": 1},
        {"kind": "comment", "text": "x" * 70_000},
    ],
    ids=lambda judgement: str(judgement)[:40],
)
def test_what_fits_no_kind_is_refused(handbook: Handbook, shown: dict[str, Any], judgement: dict[str, object]) -> None:
    response = handbook.client.post("/v1/feedback", json={"impression_id": shown["impression_id"], **judgement})
    assert response.status_code == 422
