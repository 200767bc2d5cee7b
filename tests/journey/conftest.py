"""For tests of faults: a tenant whose documents must all be there, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.product import Product, eventually

WORD = "flamingo"


@dataclass(slots=True)
class Flock:
    """Documents with WORD in them; `written` are those that were acknowledged."""

    product: Product
    tenant: str
    client: httpx.Client
    written: set[str] = field(default_factory=set)
    seq: int = 0

    def write(self, count: int) -> None:
        """Store `count` more documents."""
        names = [f"doc-{len(self.written) + number}" for number in range(count)]
        documents = [{"id": name, "text": f"The {WORD} called {name} stands on one leg."} for name in names]
        response = self.client.post("/v1/documents:batch", json={"documents": documents})
        assert response.status_code == 200, response.text
        self.written |= set(names)
        self.seq = response.json()["seq"]

    def found(self) -> list[str]:
        """Ids of all chunks' documents that a complete search finds."""
        body = {"query": WORD, "mode": "lexical", "k": 1000, "min_seq": self.seq, "timeout_seconds": 20}

        def complete() -> list[str] | None:
            response = self.client.post("/v1/search", json=body)
            if response.status_code != 200 or response.json()["coverage"] < 1:
                return None
            return [hit["document_id"] for hit in response.json()["hits"]]

        return eventually(complete, 60, "a complete search")

    def check(self) -> None:
        """Every acknowledged document is there, once."""
        assert sorted(self.found()) == sorted(self.written)


@pytest.fixture
def flock(product: Product) -> Iterator[Flock]:
    tenant, client = product.new_tenant()
    with client:
        one = Flock(product, tenant, client)
        one.write(40)
        one.check()
        yield one
