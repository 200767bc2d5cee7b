"""A PostgreSQL whose host is gone without a word: nobody waits for it as long as the system would, which is hours."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from kaizen.config import LedgerSettings
from kaizen.errors import Unavailable
from kaizen.storage.ledger import Ledger
from tests.unit.storage.postgres_server import PostgresServer


@contextmanager
def _over_tcp(server: PostgresServer) -> Iterator[int]:
    """A port that leads to the server's socket."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=_let_in, args=(door, str(server.directory / ".s.PGSQL.5432")), daemon=True).start()
        yield door.getsockname()[1]


def _let_in(door: socket.socket, path: str) -> None:
    while True:
        try:
            caller, _ = door.accept()
        except OSError:  # closed
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        for ends in ((caller, server), (server, caller)):
            threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError), source:  # the other end may be closed first
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _waits(ledger: Ledger) -> list[int]:
    """Of a connection, in seconds but for the last."""
    options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
    with ledger.documents._database.read() as connection:
        driver: Any = connection.connection.dbapi_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as raw:
            return [raw.getsockopt(socket.IPPROTO_TCP, option) for option in options]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("named", "expected"),
    [("", [5, 2, 3, 10_000]), ("?tcp_user_timeout=7000&keepalives_idle=60", [60, 2, 3, 7000])],
)
def test_a_connection_is_given_up_in_seconds_or_when_the_url_says(
    postgres: PostgresServer, named: str, expected: list[int]
) -> None:
    with _over_tcp(postgres) as port:
        ledger = Ledger.open(LedgerSettings(), f"postgresql+psycopg://kaizen@127.0.0.1:{port}/migrated{named}")
        with ledger:
            assert ledger.documents.head() == 0
            assert _waits(ledger) == expected


@pytest.mark.parametrize(("named", "seconds"), [("", 5), ("?connect_timeout=2", 2)])
def test_a_server_that_says_nothing_is_not_waited_for(named: str, seconds: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://kaizen@127.0.0.1:{silent.getsockname()[1]}/k{named}"
        began = time.monotonic()
        with pytest.raises(Unavailable):
            Ledger.open(LedgerSettings(), url)
        assert seconds - 1 < time.monotonic() - began < seconds + 20
