"""What a gateway opens of a release, and who waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from kaizen.config import Settings
from serve_apps import served
from serve_apps.served import LocalQueries, Opener


def test_writers_find_the_shards_while_a_model_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one may be a download of minutes, and whoever waits for `searchable` holds a thread meanwhile."""
    monkeypatch.setattr(served, "index_of", lambda _: Mock(id="index", shards=1))
    opener, reading, may_end = Opener(Settings(), Mock()), threading.Event(), threading.Event()

    def read() -> LocalQueries:
        reading.set()
        may_end.wait(30)
        return LocalQueries(Mock())

    with ThreadPoolExecutor(2) as pool:
        model = pool.submit(opener._queries.get, "encoder", read)
        reading.wait(30)
        assert pool.submit(opener.fan_out, Mock()).result(10).index_id == "index"
        assert not model.done()
        may_end.set()
        assert isinstance(model.result(30), LocalQueries)
