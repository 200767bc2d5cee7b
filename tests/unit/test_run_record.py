"""A training run's record of its checkpoints, which Ray Train writes in place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from train.run_record import KeepRecord, mend_record


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME


def write_and_copy(record: Path, text: str) -> None:
    """What Ray Train writes at a report, and what is called after it."""
    record.write_text(text)
    KeepRecord(record.parent).after_report(None, [], None)


@pytest.mark.parametrize("left", [0, 1, 10])
def test_a_torn_record_is_the_one_before_it(record: Path, left: int) -> None:
    write_and_copy(record, whole := json.dumps({"checkpoints": ["one"]}))
    record.write_text(json.dumps({"checkpoints": ["one", "two"]})[:left])
    mend_record(record.parent)
    assert record.read_text() == whole


def test_a_whole_record_stays(record: Path) -> None:
    write_and_copy(record, "{}")
    record.write_text(newest := json.dumps({"checkpoints": ["two"]}))
    mend_record(record.parent)
    assert record.read_text() == newest


def test_a_record_that_was_not_copied_any_more_is_copied_when_the_run_goes_on(record: Path) -> None:
    """What an older copy names may have been deleted by now."""
    write_and_copy(record, "{}")
    record.write_text(newer := json.dumps({"checkpoints": ["two"]}))
    mend_record(record.parent)
    record.write_text("{")
    mend_record(record.parent)
    assert record.read_text() == newer


def test_a_torn_first_record_is_taken_away(record: Path) -> None:
    record.write_text("{")
    mend_record(record.parent)
    assert not record.exists()


def test_before_the_first_checkpoint_there_is_nothing_to_keep(record: Path) -> None:
    KeepRecord(record.parent).after_report(None, [], None)
    mend_record(record.parent)
    assert list(record.parent.iterdir()) == []
