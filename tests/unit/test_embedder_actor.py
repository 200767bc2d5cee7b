"""When the embedder's process ends by itself, without Ray."""

from __future__ import annotations

import threading
import time
from unittest.mock import Mock

import pytest

from actors import background
from actors.embedder import DOCUMENTS, Embedder
from kaizen.errors import BadModel, WriterStopped
from kaizen.indexing.remembered import Remembered


class Ended(BaseException):
    """As os._exit: nothing after it is done."""


def test_it_ends_when_its_ledgers_writer_has_stopped_and_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder.__new__(Embedder)
    embedder._lock = threading.Lock()
    monkeypatch.setattr(background, "LAST_SECONDS", 0.2)  # where every sync fails, the next one ends as soon
    monkeypatch.setattr(background.os, "_exit", Mock(side_effect=Ended))
    embedder._remembered = Mock(spec=Remembered)
    embedder._remembered.rows.side_effect = [BadModel("It answers nonsense."), WriterStopped("A sync failed.")]
    with pytest.raises(BadModel):
        embedder.prepare([])
    started = time.monotonic()
    with pytest.raises(Ended):
        embedder.prepare([])
    assert time.monotonic() - started >= background.LAST_SECONDS
    assert Embedder.prepare.__ray_concurrency_group__ == DOCUMENTS
