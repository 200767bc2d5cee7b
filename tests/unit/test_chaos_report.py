"""The page of results says what was tried how often, what was broken, and what was seen without a defence."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.report import MIXED, Result, append, page, read

RESULTS = [
    Result(row=1, fault="kill -9", trials=1, violations=0, seconds=2.0),
    Result(row=1, fault="kill -9", trials=1, violations=1, seconds=4.0),
    Result(row=1, fault="kill | twice", trials=3, violations=0),
    Result(row=1, fault="kill -9", trials=1, violations=7, defence="no retry", seen_without_it="7 failed"),
    Result(row=MIXED, fault="anything", trials=5, violations=0),
    Result(row=12, fault="a race", trials=3, violations=0),
]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for result in RESULTS:
        append(tmp_path / "out" / "results.jsonl", result)
    assert read([tmp_path / "out" / "results.jsonl"]) == RESULTS


def test_what_ends_a_trial_is_a_violation_on_record(tmp_path: Path) -> None:
    chaos = Chaos(long=False, seed=0, out=tmp_path / "results.jsonl", minutes=0)
    with chaos.counted(1, "kill -9"):
        pass
    with pytest.raises(TimeoutError), chaos.counted(1, "kill -9"):
        raise TimeoutError
    assert [(one.trials, one.violations) for one in read([chaos.out])] == [(1, 1)]


def test_a_line_a_row() -> None:
    table = [line for line in page(RESULTS).splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in table] == ["| 1", "| 12", "| "]
    assert table[0].endswith(
        "| kill -9 (2; back after 3.0 s, at worst 4.0 s)<br>kill / twice (3) | 5 | 1 | no retry: 7 failed "
        f"| {date.today()} |"
    )


def test_what_did_not_run_again_keeps_its_line() -> None:
    whole = page(RESULTS).replace(str(date.today()), "2026-01-02")
    again = page([Result(row=12, fault="a race", trials=9, violations=0)], whole).splitlines()
    rows = {line.split("|")[1].strip(): line for line in again if line.startswith("| ")}
    assert list(rows) == ["#", "---", "1", "12", ""]
    assert [rows[name].split(" | ")[-1] for name in ("1", "12", "")] == [
        "2026-01-02 |",
        f"{date.today()} |",
        "2026-01-02 |",
    ]
    assert "a race (9)" in rows["12"]


def test_a_row_is_of_the_day_of_its_newest_trial_whenever_the_page_is_written() -> None:
    days = ("2026-01-02", "2026-01-03", "2026-01-01")
    written = page([Result(row=12, fault="a race", trials=1, violations=0, on=day) for day in days])
    assert written.count("| 3 | 0 |  | 2026-01-03 |") == 1


def test_what_was_not_tried_is_named() -> None:
    assert "2 (a shard hangs)" in page(RESULTS)
    assert "12 (" not in page(RESULTS)
