"""uvicorn's own protocol, with our request cycle and without, on a transport that remembers what was written when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from serve_apps.request_cycle import MIDDLEWARE, change_cycle

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
Answer = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test joins is apart again after it."""
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", httptools_impl.RequestResponseCycle)


def written(answer: Answer, requests: Sequence[bytes] = (REQUEST,)) -> tuple[list[bytes], bool]:
    """Each write of the responses, and whether the connection was closed."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401
        await answer(send)

    async def run() -> tuple[list[bytes], bool]:
        transport = Mock(spec=asyncio.Transport)
        transport.is_closing.return_value = False
        transport.get_extra_info.return_value = None
        config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, server_header=False)
        config.load()
        protocol = httptools_impl.HttpToolsProtocol(config, ServerState(), {})
        protocol.connection_made(transport)
        for request in requests:
            protocol.data_received(request)
            while protocol.tasks:
                await asyncio.gather(*protocol.tasks)
        await asyncio.sleep(0)
        protocol._unset_keepalive_if_required()
        return [call.args[0] for call in transport.write.call_args_list], transport.close.called

    return asyncio.run(run())


def as_it_is(app: ASGIApp) -> ASGIApp:
    return app


def response(*bodies: bytes, headers: Sequence[tuple[bytes, bytes]] = (), pause: bool = False) -> Answer:
    async def answer(send: Any) -> None:  # noqa: ANN401
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, body in enumerate(bodies, start=1):
            if pause:
                await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    return answer


LENGTH = ((b"content-length", b"5"),)


def test_a_response_leaves_in_one_write() -> None:
    apart, _ = written(response(b"hello", headers=LENGTH))
    assert len(apart) == 2  # or uvicorn joins them by itself, and ours can go
    change_cycle(as_it_is)
    together, closed = written(response(b"hello", headers=LENGTH))
    assert together == [b"".join(apart)]
    assert not closed


def test_what_comes_later_is_not_waited_for() -> None:
    change_cycle(as_it_is)
    writes, _ = written(response(b"one", b"two", pause=True))
    assert [write.split(b"\r\n\r\n")[0][:12] for write in writes[:1]] == [b"HTTP/1.1 200"]
    assert [b"one" in write for write in writes] == [False, True, False, False][: len(writes)]
    assert len(writes) >= 3


def test_one_response_after_another_and_an_empty_one() -> None:
    change_cycle(as_it_is)
    empty = response(b"", headers=((b"content-length", b"0"),))
    assert len(written(empty)[0]) == 1
    assert len(written(response(b"hello", headers=LENGTH), (REQUEST, REQUEST))[0]) == 2


def test_a_connection_that_is_to_be_closed_is_closed_after_its_response() -> None:
    change_cycle(as_it_is)
    asked = REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    writes, closed = written(response(b"hello", headers=LENGTH), (asked,))
    assert closed
    assert b"".join(writes).endswith(b"hello")


@pytest.mark.parametrize(("theirs", "answer"), [("", b"no"), ("their.module:callback", b"hello")])
def test_what_is_around_answers_unless_an_operator_has_put_something_there(
    monkeypatch: pytest.MonkeyPatch, theirs: str, answer: bytes
) -> None:
    """Their middleware may look at who calls."""

    def refusing(_app: ASGIApp) -> ASGIApp:
        async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
            await response(b"no", headers=((b"content-length", b"2"),))(send)

        return refuse

    monkeypatch.setenv(MIDDLEWARE, theirs)
    change_cycle(refusing)
    (one,), closed = written(response(b"hello", headers=LENGTH))
    assert one.endswith(answer)
    assert not closed


def test_a_server_that_ends_finishes_what_is_answered_before_serve() -> None:
    """Serve does not count it, so it is the HTTP server that has to wait."""

    async def run() -> bytes:
        begun, go = asyncio.Event(), asyncio.Event()

        def slowly(_app: ASGIApp) -> ASGIApp:
            async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
                begun.set()
                await go.wait()
                await response(b"hello", headers=LENGTH)(send)

            return answer

        change_cycle(slowly)
        config = uvicorn.Config(Mock(), http="httptools", lifespan="off", log_config=None, port=0)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await begun.wait()
        server.should_exit = True
        while server.servers[0].is_serving():
            await asyncio.sleep(0.01)
        assert not serving.done()
        go.set()
        read = await reader.read()
        writer.close()
        await serving
        return read

    assert asyncio.run(asyncio.wait_for(run(), 20)).endswith(b"hello")
