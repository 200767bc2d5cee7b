"""The benches' own parts: what they measure with must be right before what they say can be."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.corpus import queries, write_pages
from bench.http_load import Load, Target, at_once, in_turn
from bench.process_tree import ProcessTree
from kaizen.errors import Unavailable


def test_pages_hold_as_much_text_as_wanted_and_never_twice_the_same(tmp_path: Path) -> None:
    written = write_pages(tmp_path / "pages.jsonl", 2_500_000)
    pages = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    assert written == sum(len(page["text"].encode()) for page in pages) >= 2_500_000
    assert len({page["text"] for page in pages}) == len({page["id"] for page in pages}) == len(pages)


def test_queries_are_the_same_on_every_run_and_differ_from_each_other() -> None:
    found = queries(50)
    assert found == queries(50)
    assert len(set(found)) == 50


def test_a_process_tree_counts_memory_and_cpu_time() -> None:
    tree = ProcessTree(os.getpid())
    tree.look()
    assert tree.peak_bytes > 10 * 2**20
    assert tree.cpu_seconds > 0


@pytest.fixture
def server() -> "Server":
    return Server()


class Server:
    """Answers every request on a loopback port with one body, as long as a measurement runs."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.seen.append(json.loads(await reader.readexactly(length)))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(self.body), self.body))
        except asyncio.IncompleteReadError:
            writer.close()

    def measure(self, body: bytes, run: Callable[[Target], Load]) -> Load:
        self.body, self.seen = body, []

        async def both() -> Load:
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


def test_a_partial_answer_does_not_count(server: Server) -> None:
    with pytest.raises(Unavailable, match="partial"):
        server.measure(b'{"coverage":0.5,"degraded":[]}', lambda target: in_turn(target, [{"query": "a"}]))
