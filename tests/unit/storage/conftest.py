"""For storage tests: a ledger on each of the two databases, by URL; nothing in it, or not even a schema; and an S3."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from kaizen.config import LedgerSettings
from kaizen.storage.ledger import Ledger
from tests.unit.storage.postgres_server import NoPostgres, PostgresServer, running

_NUMBERS = itertools.count()
_BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole session, with a database `migrated`; skips, saying why, if none can run."""
    try:
        with running() as server:
            Ledger.open(LedgerSettings(), server.create("migrated")).close()
            yield server
    except NoPostgres as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3, with an empty bucket `kaizen`."""
    import boto3  # type: ignore[import-untyped]

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    who = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **who)
    client.create_bucket(Bucket="kaizen")
    client.close()
    yield endpoint
    server.stop()


@pytest.fixture
def s3_access(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client of `s3_endpoint` needs in its environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(params=_BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database of each kind without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite"
    else:
        yield from _database(request.getfixturevalue("postgres"), "template1")


@pytest.fixture(params=_BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty ledger of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path)
        yield f"sqlite:///{tmp_path}/ledger.sqlite"
    else:
        yield from _database(request.getfixturevalue("postgres"), "migrated")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(LedgerSettings(), url) as opened:
        yield opened


def _database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{next(_NUMBERS)}"
    yield server.create(name, template)
    server.drop(name)
