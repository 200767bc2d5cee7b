"""A segment's record says which version of the program can read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaizen.errors import Corrupt
from kaizen.retrieval import short_codes
from kaizen.retrieval.analyser import VERSION
from kaizen.retrieval.segment import FORMAT, TWINS_FORMAT, Segment
from tests.unit.retrieval.rows import document, segment, vector


def _saved(folder: Path) -> Segment:
    made = segment(*(document(f"d{n}", f"text number {n}") for n in range(700)), kind="ivf")
    made.save(folder)
    return made


def _format(folder: Path) -> int:
    return int(json.loads((folder / "segment.json").read_text())["format"])


def test_rows_in_one_list_are_of_the_format_that_every_version_reads(tmp_path: Path) -> None:
    _saved(tmp_path)
    assert _format(tmp_path) == FORMAT


def test_rows_in_two_lists_are_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_codes, "TWICE_FROM", 1)
    made = _saved(tmp_path)
    assert _format(tmp_path) == TWINS_FORMAT != FORMAT
    query = vector("text number 7")
    found = Segment.load(tmp_path).vectors.top(query, 10, None)[0].tolist()
    assert found == made.vectors.top(query, 10, None)[0].tolist()
    assert len(set(found)) == 10


@pytest.mark.parametrize("others", [{}, {"words": VERSION + 1}])
def test_words_that_another_version_read_are_refused(tmp_path: Path, others: dict[str, int]) -> None:
    _saved(tmp_path)
    record = json.loads((tmp_path / "segment.json").read_text())
    del record["words"]  # as the first version wrote it
    (tmp_path / "segment.json").write_text(json.dumps({**record, **others}))
    with pytest.raises(Corrupt, match="words of this segment"):
        Segment.load(tmp_path)


def test_a_format_of_a_later_version_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    record = json.loads((tmp_path / "segment.json").read_text())
    (tmp_path / "segment.json").write_text(json.dumps({**record, "format": 3}))
    with pytest.raises(Corrupt, match="format 3 is not known here"):
        Segment.load(tmp_path)
