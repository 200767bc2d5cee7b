"""The child process: limits, restarts, what it can see."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaizen.errors import BadDocument
from kaizen.text import sandbox as module
from kaizen.text.sandbox import Sandbox

PAGE = b"<title>T</title><p>text"
REQUEST: dict[str, Any] = {"format": "html", "size_bytes": len(PAGE)}


@pytest.fixture
def child() -> Iterator[Sandbox]:
    with Sandbox(parse_seconds=1) as sandbox:
        yield sandbox


def _read(sandbox: Sandbox) -> list[dict[str, Any]]:
    return list(sandbox.rows(io.BytesIO(PAGE), REQUEST))


def _pid(sandbox: Sandbox) -> int:
    assert sandbox._process is not None
    return sandbox._process.pid


def test_one_child_reads_many_documents(child: Sandbox) -> None:
    assert _read(child) == [{"title": "T", "text": "\n\n\n\ntext\n\n\n\n", "metadata": {}}]
    first = _pid(child)
    _read(child)
    assert _pid(child) == first


def test_a_child_that_was_killed_is_replaced(child: Sandbox) -> None:
    _read(child)
    first = _pid(child)
    os.kill(first, signal.SIGKILL)
    assert len(_read(child)) == 1
    assert _pid(child) != first


def test_a_child_that_hangs_is_ended_in_time(child: Sandbox) -> None:
    _read(child)
    first = _pid(child)
    os.kill(first, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(BadDocument, match="over 1 seconds"):
        _read(child)
    assert 0.9 < time.monotonic() - start < 3
    assert len(_read(child)) == 1
    assert _pid(child) != first


def test_memory_is_limited() -> None:
    size = 120 * 2**20
    with Sandbox(parse_seconds=10, memory_bytes=100 * 2**20) as sandbox:
        with pytest.raises(BadDocument, match="GiB to read"):
            list(sandbox.rows(io.BytesIO(b"x" * size), {"format": "html", "size_bytes": size}))
        assert len(_read(sandbox)) == 1


def test_a_reader_that_stops_midway_leaves_a_sandbox_that_works(child: Sandbox) -> None:
    rows = child.rows(io.BytesIO(PAGE), REQUEST)
    next(rows)
    rows.close()
    assert len(_read(child)) == 1


def test_the_child_has_no_credentials(child: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    _read(child)
    assert b"AWS_SECRET" not in Path(f"/proc/{_pid(child)}/environ").read_bytes()


def test_close_ends_the_child(child: Sandbox) -> None:
    _read(child)
    process = child._process
    child.close()
    assert process is not None
    assert process.returncode == -signal.SIGKILL


def test_the_child_ends_with_its_parent() -> None:
    sandbox = Sandbox(parse_seconds=1)
    _read(sandbox)
    assert sandbox._socket is not None
    assert sandbox._process is not None
    sandbox._socket.close()
    assert sandbox._process.wait(timeout=5) == 0


def test_every_reader_can_be_imported() -> None:
    from kaizen.text import sandbox_child

    sandbox_child.main([])
    assert module.MEMORY_BYTES == 2 * 2**30
