"""Against a real server that speaks S3."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from kaizen.config import Ingest
from kaizen.errors import InvalidInput, Unavailable
from kaizen.records import Document
from kaizen.text.parse import read_documents
from kaizen.text.sources import expand

ROWS = "".join(f'{{"id": "{i}", "text": "document {i}"}}\n' for i in range(40))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def bucket(endpoint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="corpus")
        for key, body in {
            "kb/a.txt": "Hello.",
            "kb/sub/rows.jsonl": ROWS,
            "kb/x.png": "",
            "kb/sub/.h.txt": "h",
            "kb2/b.txt": "b",
        }.items():
            client.put_object(Bucket="corpus", Key=key, Body=body.encode())
        yield


def test_a_prefix(endpoint: str) -> None:
    found = expand(["s3://corpus/kb/"], endpoint_url=endpoint)
    assert [(f.source, f.uri, f.name, f.size_bytes) for f in found.files] == [
        ("s3://corpus/kb", "s3://corpus/kb/a.txt", "kb/a.txt", 6),
        ("s3://corpus/kb", "s3://corpus/kb/sub/rows.jsonl", "kb/sub/rows.jsonl", len(ROWS)),
    ]
    assert found.skipped == {"unknown extension '.png'": 1, "hidden": 1}
    assert all(file.etag and file.modified for file in found.files)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("s3://corpus/kb/a.txt", ["kb/a.txt"]),
        ("s3://corpus/kb*/*.txt", ["corpus/kb/a.txt", "corpus/kb2/b.txt"]),
        ("s3://corpus", ["corpus/kb/a.txt", "corpus/kb/sub/rows.jsonl", "corpus/kb2/b.txt"]),
    ],
)
def test_an_object_a_glob_and_a_bucket(endpoint: str, source: str, names: list[str]) -> None:
    assert [file.name for file in expand([source], endpoint_url=endpoint).files] == names


def test_documents_in_parts(endpoint: str) -> None:
    units = expand(["s3://corpus/kb/sub"], endpoint_url=endpoint, part_bytes=300).files
    documents = [item for unit in units for item in read_documents(unit, Ingest(), "acme")]
    assert len(units) == len(ROWS) // 300 + 1
    assert [d.id for d in documents if isinstance(d, Document)] == [str(i) for i in range(40)]


@pytest.mark.parametrize("source", ["s3://nowhere/x", "s3://corpus/nothing"])
def test_what_does_not_exist(endpoint: str, source: str) -> None:
    with pytest.raises(InvalidInput):
        expand([source], endpoint_url=endpoint)


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="does not answer"):
        expand(["s3://corpus/kb"], endpoint_url=f"http://127.0.0.1:{port}")
