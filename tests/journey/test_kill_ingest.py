"""kill -9 of `jobs.ingest` and of its worker at several moments: a rerun takes in what is missing, once."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.throwaway import environment
from tests.corpus import write_texts
from tests.product import Product, eventually, title_of

FILES = 40
WORDS = "sandpiper"


def chunks(client: httpx.Client, seq: int) -> Counter[tuple[str, str]]:
    """All chunks with WORDS, with their texts; how often each is there."""
    body = {"query": WORDS, "mode": "lexical", "k": 1000, "min_seq": seq, "timeout_seconds": 30}
    response = client.post("/v1/search", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["coverage"] == 1
    return Counter((hit["chunk_id"], hit["text"]) for hit in response.json()["hits"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_and_again(product: Product, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts", FILES, WORDS)
    tenant, client = product.new_tenant()
    undisturbed, reference = product.new_tenant()
    documents = product.parts.ledger.documents
    seed = secrets.randbelow(10**6)
    print("seed", seed)
    chance = random.Random(seed)  # noqa: S311

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "jobs.ingest", str(tmp_path / "texts"), "--tenant", tenant, "--json"]
        return subprocess.Popen([*command, "--config", str(product.config)], env=environment(), stdout=subprocess.PIPE)

    def progressed(from_count: int, process: subprocess.Popen[bytes]) -> bool:
        return documents.count(tenant) > from_count or process.poll() is not None

    # Before anything is recorded, and a moment after a batch was.
    for batches in (0, 1):
        with start() as job:
            if batches:
                before = documents.count(tenant)
                eventually(lambda b=before, j=job: progressed(b, j), 180, "a batch is recorded")  # type: ignore[misc]
            threading.Event().wait(chance.uniform(0, 3) if not batches else chance.uniform(0, 0.3))
            job.kill()
    partly = documents.count(tenant)
    assert 0 < partly < FILES, f"{partly} documents: the kills came too late or too early to test anything"

    # The worker that embeds: Ray starts another one, and the run goes on.
    with start() as job:
        worker = eventually(lambda: _embedding(product), 180, "a worker that embeds")
        worker.kill()
        output, _ = job.communicate(timeout=300)
        assert job.returncode == 0, output

    summary = product.run("jobs.ingest", str(tmp_path / "texts"), "--tenant", tenant)
    assert (summary["unchanged"], summary["documents"], summary["quarantined"]) == (FILES, 0, 0)
    whole = product.run("jobs.ingest", str(tmp_path / "texts"), "--tenant", undisturbed)
    with client, reference:
        found, expected = chunks(client, whole["seq"]), chunks(reference, whole["seq"])
    assert len(expected) == whole["chunks"] > FILES
    assert set(expected.values()) == {1}
    assert found == expected


def _embedding(product: Product) -> psutil.Process | None:
    """The worker of Ray Data that holds the bulk embedder."""
    return next((p for p in product.tree() if "BulkEmbedder" in title_of(p)), None)
