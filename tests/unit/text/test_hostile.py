"""What was made to do harm, or is merely broken: each is quarantined with a reason, in little time and memory."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen.config import Ingest
from kaizen.errors import Unavailable
from kaizen.records import Document, Quarantined
from kaizen.text.parse import read_documents
from kaizen.text.sandbox import Sandbox
from kaizen.text.source_file import FORMATS
from kaizen.text.sources import expand
from tests.unit.text.conftest import Read
from tests.unit.text.hostile import HOSTILE, SAMPLES, bomb_pdf
from tests.unit.text.test_parse import make_pdf


@pytest.mark.parametrize(("name", "make", "reason"), HOSTILE)
def test_quarantined(read: Read, name: str, make: Callable[[], bytes], reason: str) -> None:
    data = make()
    start = time.monotonic()
    item = read(name, data)[-1]
    assert isinstance(item, Quarantined)
    assert item.reason.startswith(reason)
    assert item.document_id == f"docs/{name}"
    assert time.monotonic() - start < 10


def test_a_pdf_bomb_harms_only_itself(read: Read) -> None:
    (item,) = read("a.pdf", bomb_pdf())
    assert isinstance(item, Quarantined)
    (after,) = read("b.pdf", make_pdf("Still here."))
    assert isinstance(after, Document)


def test_a_quarantined_name_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9\n.txt").write_text("text")
    (unit,) = expand([str(tmp_path)]).files
    (item,) = read_documents(unit, Ingest(), "acme")
    assert isinstance(item, Quarantined)
    json.dumps(item.document_id).encode()
    assert item.reason.startswith("The document id has control characters")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (unit,) = expand([str(tmp_path)]).files
    (tmp_path / "a.txt").unlink()
    (item,) = read_documents(unit, Ingest(), "acme")
    assert isinstance(item, Quarantined)
    assert item.reason == "It cannot be read: No such file or directory."


@settings(max_examples=25, deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    noise=st.binary(max_size=200),
    at=st.floats(0, 1),
    cut=st.integers(0, 300),
    whole=st.booleans(),
)
def test_no_bytes_make_a_reader_raise(
    sandbox: Sandbox, format: str, noise: bytes, at: float, cut: int, whole: bool
) -> None:
    sample = SAMPLES[format]
    place = int(at * len(sample))
    data = noise if whole else sample[:place] + noise + sample[place + cut :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{format}"
        path.write_bytes(data)
        (unit,) = expand([str(path)]).files
        for item in read_documents(unit, Ingest(), "acme", sandbox=sandbox):
            if isinstance(item, Document):
                json.dumps([item.id, item.title, item.text, dict(item.metadata)], allow_nan=False).encode()


def test_a_sandbox_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with Sandbox(parse_seconds=1) as sandbox, pytest.raises(Unavailable, match="does not start"):
        list(sandbox.rows(io.BytesIO(b"x"), {"format": "html", "size_bytes": 1}))
