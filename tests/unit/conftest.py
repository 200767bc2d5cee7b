"""For unit tests: Ray cannot start; a ledger is migrated, and the standard library's documentation read, once."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kaizen.config import LedgerSettings
from kaizen.storage.ledger import Ledger
from kaizen.text.stdlib_corpus import Row, stdlib_documents

RAY_PROGRAMS = {"gcs_server", "raylet"}


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse `ray.init` (also the one that `.remote()` calls), and Ray's own programs if it is imported later."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("A unit test cannot start Ray: move it to tests/ray.")

    start = subprocess.Popen.__init__

    def guarded(self: subprocess.Popen[bytes], args: Sequence[object], *rest: object, **options: object) -> None:
        program = args if isinstance(args, str) else str(next(iter(args), ""))
        if Path(program).name in RAY_PROGRAMS:
            refuse()
        start(self, args, *rest, **options)

    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", guarded)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger's file after migration, to be copied: that is quicker than migrating each time."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.sqlite"
    Ledger.open(LedgerSettings(), f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def stdlib_rows() -> list[Row]:
    """All that `stdlib_documents` yields: parsing the library takes seconds, so nobody does it again.

    Syntax trees hold no circles, and to look for them is a quarter of these seconds.
    """
    gc.disable()
    try:
        return list(stdlib_documents())
    finally:
        gc.enable()


@pytest.fixture
def stdlib_read_once(monkeypatch: pytest.MonkeyPatch, stdlib_rows: list[Row]) -> None:
    """Who makes something of the rows gets copies; that they are the same every time is tested where they are made."""

    def rows() -> Iterator[Row]:
        return (dict(row) for row in stdlib_rows)

    for module in ("bench.corpus", "kaizen.evaluation.stdlib_collection", "kaizen.text.stdlib_corpus"):
        monkeypatch.setattr(f"{module}.stdlib_documents", rows)


@pytest.fixture
def as_in_a_terminal() -> Iterator[None]:
    """Signals as a terminal's processes have them: those in the background may ignore SIGINT and SIGHUP."""
    ours = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in ours.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
