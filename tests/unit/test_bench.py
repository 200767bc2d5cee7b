"""The benches' own parts: what they measure with must be right before what they say can be."""

import asyncio
import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.corpus import queries, write_pages
from bench.http_load import Load, Target, at_once, at_rate, in_turn
from bench.process_tree import ProcessTree
from kaizen.errors import Unavailable


@pytest.mark.usefixtures("stdlib_read_once")
def test_pages_hold_as_much_text_as_wanted_and_never_twice_the_same(tmp_path: Path) -> None:
    written = write_pages(tmp_path / "pages.jsonl", 2_500_000)
    pages = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    assert written == sum(len(page["text"].encode()) for page in pages) >= 2_500_000
    assert len({page["text"] for page in pages}) == len({page["id"] for page in pages}) == len(pages)


@pytest.mark.usefixtures("stdlib_read_once")
def test_queries_are_the_same_on_every_run_and_differ_from_each_other() -> None:
    found = queries(50)
    assert found == queries(50)
    assert len(set(found)) == 50


def test_a_process_tree_counts_memory_and_cpu_time() -> None:
    tree = ProcessTree(os.getpid())
    tree.look()
    assert tree.peak_bytes > 10 * 2**20
    assert tree.cpu_seconds > 0
    with mmap.mmap(-1, 100 * 2**20) as block:  # not from the heap, which may have kept as much from other tests
        before = tree.peak_bytes
        block.write(b"x" * len(block))
        tree.look()
        assert tree.peak_bytes - before > len(block) * 0.9


@pytest.fixture
def server() -> "Server":
    return Server()


class Server:
    """Answers every request on a loopback port with one body, as long as a measurement runs."""

    patience: float | None = None  # with a connection that asks nothing, once it has not been the last to ask

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.newest: asyncio.StreamWriter | None = None
        try:
            while head := await self._head(reader, writer):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.seen.append(json.loads(await reader.readexactly(length)))
                async with self._turn:
                    await asyncio.sleep(self.seconds_each)
                    writer.write(
                        b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (self.head, len(self.body), self.body)
                    )
        except (asyncio.IncompleteReadError, TimeoutError):
            writer.close()

    async def _head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The next request's; TimeoutError where another connection was the last to ask, and this one asks nothing."""
        while True:
            try:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.patience)
            except TimeoutError:
                if self.newest not in (None, writer):
                    raise
            else:
                self.newest = writer
                return head

    def measure(
        self, body: bytes, run: Callable[[Target], Load], *, head: bytes = b"200 OK", seconds_each: float = 0.0
    ) -> Load:
        self.body, self.head, self.seconds_each, self.seen = body, head, seconds_each, []

        async def both() -> Load:
            self._turn = asyncio.Lock()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            target = Target(url=f"http://127.0.0.1:{port}", path="/v1/search", headers={})
            try:
                return await asyncio.to_thread(run, target)
            finally:
                server.close()

        return asyncio.run(both())


WHOLE = b'{"coverage":1.0,"degraded":[],"timings_ms":{"embed":2.5}}'


def test_requests_are_sent_in_turn_and_stages_are_collected(server: Server) -> None:
    load = server.measure(WHOLE, lambda target: in_turn(target, [{"query": "a"}, {"query": "b"}], stages=True))
    assert server.seen == [{"query": "a"}, {"query": "b"}]
    assert load.stages == [{"embed": 2.5}, {"embed": 2.5}]
    assert len(load.seconds_each) == 2


def test_connections_share_the_requests_until_time_is_up(server: Server) -> None:
    load = server.measure(WHOLE, lambda target: at_once(target, [{"query": "a"}], connections=3, seconds=0.2))
    assert len(load.seconds_each) == len(server.seen) >= 3


def test_a_constant_rate_is_kept_and_counted(server: Server) -> None:
    load = server.measure(WHOLE, lambda target: at_rate(target, [{"query": "a"}], rate=100, seconds=0.3, connections=4))
    assert len(load.seconds_each) == len(server.seen) == 30
    assert load.seconds > 0.28
    assert load.refused_each == []


def test_time_at_a_constant_rate_counts_from_when_a_request_was_due(server: Server) -> None:
    def run(target: Target) -> Load:
        return at_rate(target, [{"query": "a"}], rate=100, seconds=0.2, connections=2)

    load = server.measure(WHOLE, run, seconds_each=0.02)  # half as fast as asked: the last is due at .19, done at .4
    assert load.quantile_ms(1) > 150
    assert load.quantile_ms(0.05) < 100


def test_a_connection_that_the_server_closes_while_nothing_is_asked_is_not_missed(server: Server) -> None:
    server.patience = 0.05  # what waits for its turn longer than that is closed

    def run(target: Target) -> Load:
        return at_rate(target, [{"query": "a"}], rate=20, seconds=0.5, connections=8)

    assert len(server.measure(WHOLE, run).seconds_each) == 10


def test_refusals_are_counted_apart_and_only_where_they_are_allowed(server: Server) -> None:
    head = b"429 Too Many Requests\r\nRetry-After: 1"

    def run(target: Target, refusals: bool) -> Load:
        return at_rate(target, [{"query": "a"}], rate=100, seconds=0.05, connections=2, refusals=refusals)

    load = server.measure(b"{}", lambda target: run(target, True), head=head)
    assert (len(load.seconds_each), len(load.refused_each)) == (0, 5)
    with pytest.raises(Unavailable, match="429"):
        server.measure(b"{}", lambda target: run(target, False), head=head)


def test_a_quantile_is_the_time_of_a_request_that_was() -> None:
    load = Load(seconds=1, cpu_seconds=0, seconds_each=[0.004, 0.001, 0.003, 0.002])
    assert [load.quantile_ms(share) for share in (0.5, 0.75, 0.76, 1)] == [2, 3, 4, 4]


def test_a_partial_answer_does_not_count(server: Server) -> None:
    with pytest.raises(Unavailable, match="partial"):
        server.measure(b'{"coverage":0.5,"degraded":[]}', lambda target: in_turn(target, [{"query": "a"}]))
