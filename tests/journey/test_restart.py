"""What survives of a whole installation: kill -9 of everything, damaged files, and a start after each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.product import Product, configure, eventually, kill_everything, started

WORD = "heron"
SHARDS = 3


def text(name: str) -> str:
    return f"The {WORD} called {name} catches fish."


@contextmanager
def writing(product: Product, acknowledged: set[str]) -> Iterator[threading.Thread]:
    """Put one document after the other until nobody answers; `acknowledged` are those that were answered with 200."""

    def write() -> None:
        with product.client(seconds=10) as client:
            for number in range(100_000):
                name = f"w{number}"
                try:
                    response = client.put(f"/v1/documents/{name}", json={"text": text(name)})
                except httpx.TransportError:
                    return
                if response.status_code != 200:
                    return
                acknowledged.add(name)

    writer = threading.Thread(target=write)
    writer.start()
    yield writer
    writer.join(60)
    assert not writer.is_alive()


def found(product: Product) -> list[str]:
    """Documents that a complete search at the ledger's head finds, in order."""
    head = product.parts.ledger.documents.head()
    body = {"query": WORD, "mode": "lexical", "k": 1000, "min_seq": head, "timeout_seconds": 30}
    with product.client() as client:
        response = client.post("/v1/search", json=body)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert (answer["coverage"], answer["index_seq"]) == (1, head)
        for hit in answer["hits"]:
            assert hit["text"] == text(hit["document_id"])
    return sorted(hit["document_id"] for hit in answer["hits"])


def sealed(product: Product) -> None:
    """Wait until each shard's changes lie in the object store."""
    eventually(lambda: all(s["head_segments"] == 0 for s in product.shards().values()), 60, "all is sealed")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_is_killed_then_files_are_damaged(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        {
            "fleet": {"shards": SHARDS, "replicas": 1},
            "index": {"seal_seconds": 1.0},
            "generator": {"kind": "extractive"},
        },
    )
    acknowledged: set[str] = set()
    with started(config) as product, product.client() as client:
        first = [{"id": f"a{i}", "text": text(f"a{i}")} for i in range(60)]
        client.post("/v1/documents:batch?wait_for=searchable", json={"documents": first})
        sealed(product)
        with writing(product, acknowledged):
            eventually(lambda: len(acknowledged) >= 30, 60, "writes")
            kill_everything(product)
    acknowledged |= {document["id"] for document in first}

    with started(config) as product, product.client() as client:
        there = found(product)
        # One more may have been durable without its answer coming through.
        assert acknowledged <= set(there)
        assert len(set(there) - acknowledged) <= 1
        assert len(there) == len(set(there))
        client.put("/v1/documents/late?wait_for=searchable", json={"text": text("late")})
        client.delete(f"/v1/documents/{there[0]}?wait_for=searchable")
        sealed(product)
        expected = sorted({*there[1:], "late"})
        assert found(product) == expected

    # Stopped. One fault in each shard.
    shards = sorted((tmp_path / "workspace" / "objects" / "index").glob("*/shard-*"))
    assert len(shards) == SHARDS
    flip_a_byte(next((shards[0] / "segments").glob("*/vectors.npy")))
    (pointer,) = (path for path in shards[1].iterdir() if path.name.startswith("CURRENT"))
    pointer.write_bytes(pointer.read_bytes()[:14])
    for manifest in (shards[2] / "generations").glob("*/sha256.json"):
        manifest.write_bytes(manifest.read_bytes()[:-20])

    with started(config) as product:
        assert found(product) == expected
        refused = [shard["refused"] for _, shard in sorted(product.shards().items())]
        assert "does not match its checksum" in refused[0][0]
        assert "pointer" in refused[1][0]
        assert "manifest" in refused[2][0]
        with product.client() as client:  # and it goes on: what was damaged is replaced by what is whole
            client.put("/v1/documents/after?wait_for=searchable", json={"text": text("after")})
        assert found(product) == sorted([*expected, "after"])


def flip_a_byte(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
