"""Traffic on a stand-in for the product: what its clients say, and what they take down of what they are told."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest

from kaizen.retrieval.analyser import Analyser
from tests.chaos.history import Client, History, Mix, cohort, spelt, traffic
from tests.chaos.model import FAILED, REFUSED, WAITED
from tests.product import Product

MIX = Mix(searchers=1, writers=1, askers=0, pause_seconds=0.001)
OF_ITSELF = {"release": "r1", "fingerprints": None, "coverage": 1, "degraded": [], "index_seq": 1}
FOUND = {**OF_ITSELF, "impression_id": "imp_1", "hits": []}


@dataclass
class Service:
    """Answers everything with `status` and, beyond what is always said, `said`; remembers names and keys."""

    status: int = 200
    media_type: str = "application/json"
    said: dict[str, object] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def client(self, _key: str = "", seconds: float = 1) -> httpx.Client:
        return httpx.Client(base_url="http://stand-in", transport=httpx.MockTransport(self._answer), timeout=seconds)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body: dict[str, Any] = json.loads(request.content or "{}")
        key = request.headers.get("Idempotency-Key") or body.get("idempotency_key")
        self.keys.update([key] if key else [])
        if request.method == "PUT":
            self.names[request.url.path] += 1
        said = {"seq": 1, "searchable": True, "feedback_id": "fb", **FOUND, **self.said}
        return httpx.Response(self.status, json=said, headers={"Content-Type": self.media_type})


@pytest.mark.parametrize(
    ("said", "is_noticed"), [({}, False), ({"degraded": ["embedder-unavailable"]}, True), ({"coverage": 0.5}, True)]
)
def test_a_search_that_is_not_as_always_is_noticed(said: dict[str, object], is_noticed: bool) -> None:
    assert bool(told(Service(said=said)).noticed()) == is_noticed


def test_a_refusal_is_noticed_and_all_but_a_429_are_failures() -> None:
    for status, fails in {404: True, 422: True, 429: False, 507: True}.items():
        history = told(Service(status=status))
        assert len(history.noticed()) == 1
        assert len(history.failed()) == fails


def test_a_search_that_does_not_wait_for_its_change_breaks_a_promise() -> None:
    assert [one.promise for one in told(Service(), min_seq=2).violations()] == [WAITED]
    assert told(Service(), min_seq=1).violations() == []


def test_a_404_is_a_gateways_where_it_explains_itself() -> None:
    assert [one.promise for one in told(Service(status=404)).violations()] == [FAILED]
    explained = Service(status=404, media_type="application/problem+json")
    assert [one.promise for one in told(explained).violations()] == [REFUSED]


def told(service: Service, **fields: object) -> History:
    """The history of one search."""
    history = History()
    with service.client() as http:
        Client(http, history).search("anything", fields)
    return history


def test_two_blocks_of_traffic_share_no_name_and_no_key() -> None:
    seen = []
    for _ in range(2):
        service = Service()
        with traffic(cast(Product, service), "key", MIX) as history:
            history.wait_for_more(10, "write")
        assert set(service.keys.values()) == {1}
        seen.append({*service.names, *service.keys})
    assert seen[0].isdisjoint(seen[1])


def test_no_two_names_are_one_word_to_a_search() -> None:
    names = [f"w{block}-{client}-{turn}" for block in (1, 4) for client in (2, 3) for turn in range(1200)]
    for word in (spelt, cohort):
        words = {word(name) for name in names}
        assert len({term for each in words for term in Analyser()(each)}) == len(words)
