"""`kaizen up` and `kaizen down` as a user runs them, with HAProxy, two copies of the shard, and a remote generator.

The tests run in this order: the last one takes down what the first ones use.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.throwaway import environment
from kaizen.run_state import KEY_FILE, RUN_FILE, read_run_state
from tests.journey.openai_endpoint import KEY, MODEL, SENTENCE, Endpoint, endpoint
from tests.product import Product, configure, eventually, installation_at, opened

KAIZEN = str(Path(sys.executable).with_name("kaizen"))
ONGOING, QUEUED = 2, 3


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a configuration file."""

    config: Path
    directory: Path

    def kaizen(self, command: str) -> dict[str, Any]:
        """Run `kaizen COMMAND --json`, which must succeed."""
        done = subprocess.run(
            [KAIZEN, command, "--config", str(self.config), "--json"],
            env={**environment(), "LIGHTHOUSE_KEY": KEY},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said


@pytest.fixture(scope="module")
def remote() -> Iterator[Endpoint]:
    with endpoint() as server:
        yield server


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, remote: Endpoint) -> Iterator[User]:
    """A user for whom `kaizen up` has succeeded."""
    folder = tmp_path_factory.mktemp("user")
    generator = {"kind": "openai", "endpoint_url": remote.url, "model": MODEL, "api_key_env": "LIGHTHOUSE_KEY"}
    config = configure(
        folder,
        {
            "server": {
                "ingress": "haproxy",
                "replicas": 1,
                "max_ongoing_requests": ONGOING,
                "max_queued_requests": QUEUED,
            },
            "fleet": {"shards": 1, "replicas": 2},
            "generator": generator,
        },
    )
    one = User(config, folder / "workspace")
    try:
        assert one.kaizen("up")["already_running"] is False
        yield one
    finally:
        one.kaizen("down")


@pytest.fixture(scope="module")
def theirs(user: User) -> Iterator[Product]:
    with opened(installation_at(user.config)) as product:
        with product.client() as client:
            client.put("/v1/documents/fact?wait_for=searchable", json={"text": SENTENCE})
        yield product


@pytest.fixture(scope="module")
def unended(theirs: Product) -> Iterator[Sequence[Future[bytes]]]:
    """What callers get who never end what they send: headers, a small body, and what is left of a larger one, of which
    HAProxy passes on what it has. Others are served while they wait, for half a minute."""
    host, _, port = theirs.state.url.removeprefix("http://").rpartition(":")
    post = b"POST /v1/feedback HTTP/1.1\r\nHost: here\r\nContent-Type: text/plain\r\nContent-Length: 60000\r\n\r\n"

    def send(begun: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=30) as line, line.makefile("rb") as answer:
            line.sendall(begun)
            return answer.read()

    with ThreadPoolExecutor(3) as pool:
        yield [pool.submit(send, begun) for begun in (post[:40], post + b"{", post + b" " * 40_000)]


def test_up_again_changes_nothing(user: User, product: Product) -> None:
    """Beside `product`, which is another installation on the same machine."""
    before = read_run_state(user.directory)
    assert user.kaizen("up")["already_running"] is True
    assert read_run_state(user.directory) == before
    assert user.kaizen("status")["ready"] is True


def test_secrets_are_their_owners_only(user: User) -> None:
    modes = {name: stat.S_IMODE((user.directory / name).stat().st_mode) for name in (KEY_FILE, RUN_FILE)}
    assert modes == {KEY_FILE: 0o600, RUN_FILE: 0o600}
    assert stat.S_IMODE(user.directory.stat().st_mode) == 0o700
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def listeners(product: Product) -> Iterator[tuple[psutil.Process, str, int]]:
    """Every listening TCP socket of the installation's processes."""
    for process in product.tree():
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield process, connection.laddr.ip, connection.laddr.port


@pytest.mark.usefixtures("unended")
def test_the_front_end_listens_on_loopback_only(theirs: Product) -> None:
    found = list(listeners(theirs))
    haproxy = [(ip, port) for process, ip, port in found if process.name() == "haproxy"]
    assert int(theirs.state.url.rsplit(":", 1)[1]) in {port for _, port in haproxy}
    assert len(haproxy) >= 3  # the API, statistics, metrics
    assert {ip for ip, _ in haproxy} == {"127.0.0.1"}
    # Ray's own ports are open to the network and ask for its token; none of them may serve the API or the dashboard.
    outside = theirs.state.ray_address.rsplit(":", 1)[0]
    for process, ip, port in found:
        if not ip.startswith("127.") and ip != "::1":
            assert not _serves(f"http://{outside}:{port}/healthz", b"ok"), (process.name(), ip, port)
            assert not _serves(f"http://{outside}:{port}/api/jobs/", b"["), (process.name(), ip, port)


def _serves(url: str, content: bytes) -> bool:
    try:
        response = httpx.get(url, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return response.status_code == 200 and response.content.startswith(content)


def test_a_header_that_serve_cannot_read_is_a_problem_and_no_fault(theirs: Product) -> None:
    with theirs.client() as client:
        for path in ("/healthz", "/v1/search"):
            refused = client.post(path, json={"query": "x"}, headers={"X-Request-ID": "caf\u00e9".encode("latin-1")})
            assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")


def test_a_search_is_answered_alike_whichever_way_it_takes(theirs: Product) -> None:
    """A plain one before Serve and the framework, another one behind them; nobody can tell by what comes back."""
    body = b'{"query": "lighthouse", "k": 1}'
    with theirs.client() as client:
        plain, other = (
            client.post("/v1/search", content=body, headers={"Content-Type": kind, "X-Request-ID": "mine"})
            for kind in ("application/json", "application/json; charset=utf-8")
        )
        unnamed = client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    assert plain.status_code == other.status_code == 200
    assert plain.json()["hits"] == other.json()["hits"] != []
    assert set(plain.headers) == set(other.headers) == set(unnamed.headers)
    assert plain.headers["x-request-id"] == other.headers["x-request-id"] == "mine" != unnamed.headers["x-request-id"]


def test_plain_searches_do_not_pass_through_serve(theirs: Product) -> None:
    """Serve counts what it passes on; when it has told of what came after them, they are not in it."""
    sent = 20

    def counted(client: httpx.Client) -> Counter[str]:
        found: Counter[str] = Counter()
        for line in client.get("/metrics").text.splitlines():
            if route := re.match(r'ray_serve_deployment_request_counter_total\{.*\broute="([^"]*)"', line):
                found[route[1]] += int(float(line.rsplit(" ", 1)[1]))
        return found

    with theirs.client() as client:
        before = counted(client)["/v1/search"]
        for _ in range(sent):
            assert client.post("/v1/search", json={"query": "lighthouse"}).status_code == 200
        client.get("/v1/releases")
        seen = eventually(
            lambda: (now := counted(client))["/v1/releases"] and now, 60, "Serve has told what it counted"
        )
    assert seen["/v1/search"] - before < sent / 2


def test_the_generator_behind_an_endpoint_answers(theirs: Product, remote: Endpoint) -> None:
    with theirs.client() as client:
        answer = client.post("/v1/answer", json={"question": "How high is the lighthouse?"}).json()
        assert (answer["answer"], answer["degraded"]) == (f"{SENTENCE} [1]", [])
        asked = remote.requests[-1]
        assert (asked["model"], asked["stream"], asked["temperature"]) == (MODEL, True, 0)
        # Streamed through HAProxy as it is made.
        body = {"question": "How high is the lighthouse?", "stream": True}
        with client.stream("POST", "/v1/answer", json=body) as response:
            deltas = [line for line in response.iter_lines() if line == "event: delta"]
    assert len(deltas) == len(SENTENCE.split(" "))


def test_who_never_ends_a_request_is_hung_up_on(unended: Sequence[Future[bytes]]) -> None:
    answers = [one.result() for one in unended]
    assert [answer.partition(b"\r\n")[0].split(b" ")[1] for answer in answers] == [b"408"] * 3
    assert [b"urn:kaizen:too-slow" in answer for answer in answers] == [False, True, True]


def test_overload_is_told_to_come_back(theirs: Product, remote: Endpoint) -> None:
    """Questions wait for a generator that is held, so exactly as many are taken in as there are places."""
    sent = 40
    refused = threading.Semaphore(0)

    def ask(_: int) -> httpx.Response:
        with theirs.client(seconds=90) as client:
            body = {"question": "How high is the lighthouse?", "timeout_seconds": 60}
            response = client.post("/v1/answer", json=body)
        if response.status_code != 200:
            refused.release()
        return response

    remote.open.clear()
    with ThreadPoolExecutor(sent) as pool:
        try:
            waiting = [pool.submit(ask, number) for number in range(sent)]
            deadline = time.monotonic() + 50
            for _ in range(sent - ONGOING - QUEUED):
                assert refused.acquire(timeout=max(0.0, deadline - time.monotonic())), "too few were refused"
            with theirs.client() as client:
                assert client.get("/healthz").status_code == 200
        finally:
            remote.open.set()
        responses = [one.result() for one in waiting]
    assert Counter(response.status_code for response in responses) == {
        200: ONGOING + QUEUED,
        429: sent - ONGOING - QUEUED,
    }
    for response in responses:
        if response.status_code == 429:
            assert int(response.headers["Retry-After"]) >= 1
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["advice"]


def test_the_endpoint_dies(theirs: Product, remote: Endpoint) -> None:
    remote.shutdown()
    remote.server_close()
    with theirs.client() as client:
        answer = client.post("/v1/answer", json={"question": "How high is the lighthouse?"}).json()
    assert (answer["answer"], answer["degraded"]) == (f"{SENTENCE} [1]", ["generator-unavailable"])


def test_down_ends_exactly_what_up_started(user: User, theirs: Product, product: Product) -> None:
    tree = theirs.tree()
    others = product.tree()
    assert len(tree) > 10
    said = user.kaizen("down")
    assert said["was_running"] is True
    assert [process for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert not (user.directory / RUN_FILE).exists()
    assert user.kaizen("down") == {"was_running": False, "stopped": [], "killed": []}
    assert [process for process in others if not process.is_running()] == []
    with product.client() as client:
        assert client.post("/v1/search", json={"query": "x"}).json()["coverage"] == 1
