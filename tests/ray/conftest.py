"""For tests of the API: the handbook, a few documents of a tenant of their own, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from kaizen.records import Impression
from tests.product import Product

HANDBOOK: list[dict[str, Any]] = [
    {
        "id": "holidays",
        "title": "Holidays",
        "text": "The office is closed on 24 December. Every employee has thirty days of paid leave in a year.",
        "metadata": {"kind": "rule", "year": 2024, "draft": False, "tags": ["people", "leave"]},
    },
    {
        "id": "pumps",
        "title": "Pump maintenance",
        "text": "Grease the bearings of the water pump every 500 hours. Replace the seal when water drips from it.",
        "metadata": {"kind": "manual", "year": 2019, "draft": False, "tags": ["machines"]},
    },
    {
        "id": "lathe",
        "title": "Lathe safety",
        "text": "Wear goggles at the lathe. Never wear gloves near the rotating spindle of the lathe.",
        "metadata": {"kind": "manual", "year": 2022, "draft": True, "tags": ["machines", "people"]},
    },
    {
        "id": "travel",
        "title": "Travel costs",
        "text": "Train tickets are paid by the company. Flights need the approval of the head of department.",
        "metadata": {"kind": "rule", "year": 2021},
    },
    {
        "id": "salaries",
        "title": "Salaries of the board",
        "text": "The chairman of the board earns 300000 a year. The board's salaries are secret.",
        "metadata": {"kind": "rule", "year": 2024},
        "groups": ["board"],
    },
]


@dataclass(frozen=True, slots=True)
class Handbook:
    """A tenant with HANDBOOK, searchable, and a client in no group that may do everything."""

    product: Product
    tenant: str
    client: httpx.Client
    seq: int

    def search(self, query: str, **fields: object) -> dict[str, Any]:
        """What POST /v1/search answers with 200, over an index that holds the handbook."""
        body = {"query": query, "min_seq": self.seq, "timeout_seconds": 30, **fields}
        response = self.client.post("/v1/search", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def impression(self, name: str) -> Impression:
        """The record of what it was shown, once it is there."""
        return self.product.impression(self.tenant, name)

    def found(self, query: str, **fields: object) -> list[str]:
        """Ids of the documents found, best first."""
        return [hit["document_id"] for hit in self.search(query, **fields)["hits"]]


@pytest.fixture(scope="session")
def handbook(product: Product) -> Iterator[Handbook]:
    tenant, client = product.new_tenant()
    with client:
        response = client.post("/v1/documents:batch?wait_for=searchable", json={"documents": HANDBOOK})
        assert response.status_code == 200, response.text
        yield Handbook(product, tenant, client, response.json()["seq"])
