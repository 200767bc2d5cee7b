"""A whole installation whose state lies in an S3-compatible store and in PostgreSQL, and nothing of it on its disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.product import configure, eventually, started
from tests.unit.storage.postgres_server import NoPostgres, running


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a server that speaks S3, with a bucket `kaizen`; credentials are in the environment."""
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs every request
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="kaizen")
    yield url
    server.stop()


@pytest.fixture
def ledger_url() -> Iterator[str]:
    try:
        with running() as server:
            yield server.create("whole")
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_was_written_is_there_after_a_restart(tmp_path: Path, s3: str, ledger_url: str) -> None:
    store = boto3.client("s3", endpoint_url=s3)
    for number in range(3):
        store.put_object(Bucket="kaizen", Key=f"kb/{number}.txt", Body=f"The okapi number {number} eats.".encode())
    config = configure(
        tmp_path,
        {
            "objects": {"uri": "s3://kaizen/state", "endpoint_url": s3},
            "ledger": {"url": ledger_url},
            "index": {"seal_seconds": 1.0},
            "generator": {"kind": "extractive"},
        },
    )
    with started(config) as product, product.client() as client:
        client.put("/v1/documents/put?wait_for=searchable", json={"text": "The okapi called Put sleeps."})
        summary = product.run("jobs.ingest", "s3://kaizen/kb/")
        assert (summary["documents"], summary["quarantined"]) == (3, 0)
        shown = search(client, summary["seq"])
        assert {hit["document_id"] for hit in shown["hits"]} == {"put", "kb/0.txt", "kb/1.txt", "kb/2.txt"}
        judgement = {"impression_id": shown["impression_id"], "kind": "thumb", "value": 1}
        assert client.post("/v1/feedback", json=judgement).json()["created"] is True
        answer = client.post("/v1/answer", json={"question": "What does okapi number 2 do?"}).json()
        assert "eats" in answer["answer"]
        eventually(lambda: all(s["head_segments"] == 0 for s in product.shards().values()), 60, "all is sealed")
    left = [path.name for path in (tmp_path / "workspace").rglob("*") if path.suffix in (".sqlite", ".faiss", ".npy")]
    assert left == []

    with started(config) as product, product.client() as client:
        again = search(client, summary["seq"])
        assert [hit["chunk_id"] for hit in again["hits"]] == [hit["chunk_id"] for hit in shown["hits"]]
        scores = [hit["score"] for hit in shown["hits"]]
        assert [hit["score"] for hit in again["hits"]] == pytest.approx(scores, abs=1e-6)
        kept = product.parts.ledger.feedback.of_impression("default", shown["impression_id"])
        assert [judgement.value for judgement in kept] == [1.0]
        assert all(shard["refused"] == [] for shard in product.shards().values())


def search(client: httpx.Client, seq: int) -> dict:  # type: ignore[type-arg]
    response = client.post("/v1/search", json={"query": "okapi", "min_seq": seq, "timeout_seconds": 30})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]
