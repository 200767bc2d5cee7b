"""What the fuzzer starts from and what it has found, once through each target; `make fuzz` searches on from there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kaizen.records import Quarantined
from kaizen.text import decode
from kaizen.text.chunk import Chunker
from kaizen.text.rows_csv import CsvRows
from kaizen.text.source_file import FORMATS
from tests.unit.text import fuzz_seeds, fuzz_targets
from tests.unit.text.conftest import Read
from tests.unit.text.fuzz_targets import Finding


@pytest.mark.parametrize("target", fuzz_targets.TARGETS)
def test_no_seed_breaks_a_promise(target: str) -> None:
    for data in [*fuzz_seeds.seeds()[target], *fuzz_seeds.found(target).values()]:
        fuzz_targets.run(target, data)


@pytest.mark.parametrize("target", [*FORMATS, "word_xml"])
def test_each_seed_of_a_file_is_read(target: str) -> None:
    assert all(fuzz_targets.TARGETS[target](data) for data in fuzz_seeds.seeds()[target])


def test_what_was_found_has_a_target() -> None:
    assert {path.name for path in fuzz_seeds.FOUND.iterdir()} <= set(fuzz_targets.TARGETS)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("docx/offset-before-the-start", "It is a damaged Word document"), ("parquet/wrong-histogram", "")],
)
def test_what_was_found_is_quarantined_with_a_reason(read: Read, name: str, reason: str) -> None:
    format, _, _ = name.partition("/")
    items = read(f"a.{format}", (fuzz_seeds.FOUND / name).read_bytes())
    assert all(item.reason.startswith(reason) for item in items if isinstance(item, Quarantined))
    assert items


def _nul_comes_through(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decode, "decode", lambda data: data.decode())
    patch.setattr(fuzz_targets, "decode", lambda data: data.decode())


def _blanks_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("kaizen.text.document.normalise", lambda text: text.strip())


def _chunks_are_stripped(patch: pytest.MonkeyPatch) -> None:
    whole = Chunker._whole
    patch.setattr(Chunker, "_whole", lambda self, *of: [(a + 1, b + 1, n) for a, b, n in whole(self, *of)])


def _a_row_raises(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CsvRows, "number", lambda self: 1 // 0)


def _time_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fuzz_targets, "SECONDS", 0.0)


SABOTAGE: list[tuple[str, bytes, Callable[[pytest.MonkeyPatch], None], type[Exception]]] = [
    ("decode", b"a\0b", _nul_comes_through, Finding),
    ("txt", b"a  b", _blanks_stay, Finding),
    ("chunks", b"\x1dSome text.", _chunks_are_stripped, Finding),
    ("csv", b"text\n\xff\n", _a_row_raises, ZeroDivisionError),
    ("md", b"# x", _time_is_lost, Finding),
]


@pytest.mark.parametrize(("target", "data", "sabotage", "error"), SABOTAGE, ids=[row[0] for row in SABOTAGE])
def test_a_broken_promise_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    data: bytes,
    sabotage: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
) -> None:
    fuzz_targets.run(target, data)
    sabotage(monkeypatch)
    with pytest.raises(error):
        fuzz_targets.run(target, data)
