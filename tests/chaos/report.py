"""The results of trials: one JSON line each, and the table that is made of them.

    python -m tests.chaos.report FILE [FILE ...]

writes docs/reliability.md from what really ran. Rows that did not run this time keep the line of the day they ran.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

# Row -> what is promised.
PROMISES: Mapping[int, tuple[str, str]] = {
    1: ("a shard is killed during searches", "its other copy answers, or 200 with coverage < 1, flagged; no 5xx"),
    2: ("a shard hangs", "the deadline holds; partial, flagged; the shard is replaced"),
    3: ("all copies of a shard are lost", "partial, flagged; full again within 30 s"),
    4: ("ingest is killed anywhere", "a rerun resumes: no loss, no duplicates, no torn index"),
    5: ("power cut in a document or feedback write", "every acknowledged write survives"),
    6: ("the disk is full", "507 or 503, reads go on, writes resume with space"),
    7: ("fsync fails", "no acknowledgement; that writer stops"),
    8: ("a bit of an index or model flips", "the checksum refuses it; previous generation or rebuild"),
    9: ("a manifest is torn or missing", "the previous generation loads"),
    10: ("a process is killed at any step of a swap", "each response is made by exactly one release; no write is lost"),
    11: ("a bad candidate: NaN, wrong dimension, slow, worse", "never promoted, or rolled back within 60 s"),
    12: ("sixteen writers change the rollout at once", "one wins, the others get 409"),
    13: ("NaN or zero embedding", "refused at ingest; lexical answer at query time, flagged"),
    14: ("the generator is slow or dead", "extractive answer before the deadline, flagged"),
    15: ("ten times overload", "429 with Retry-After; memory bounded; p99 of what is accepted at most 2x"),
    16: ("the proxy is killed", "back within 5 s"),
    17: ("the Serve controller is killed", "no failed request"),
    18: ("head or GCS lost", "serving goes on; heals on restart"),
    19: ("a node is lost", "no 5xx with one retry; what was on it is replaced"),
    20: ("the clock jumps by an hour", "order by sequence number, monotonic timeouts"),
    21: ("bad input", "4xx, or quarantined with a reason; time and memory bounded; the rest continues"),
    22: ("duplicate or late feedback", "counted once"),
    23: ("feedback flood by one identity", "its weight is capped; no promotion from it, no good challenger taken back"),
    24: ("the trainer is killed in a checkpoint", "goes on from the last whole one"),
}  # fmt: skip
MIXED = 0  # the row of random faults one after the other

INTRODUCTION = """# Reliability: what was broken on purpose, and what was seen

Each row is a fault that is injected into real processes, or into what they are given. Rows 1 to 3, 10, 12, 14 to 19,
the random faults and some trials of rows 6, 7, 13, 20 and 22 run under real traffic: clients record every operation
(what was asked, what was acknowledged, refused or never answered), try a failed one once more, and a model checks the
history and the state at the end: acknowledged writes are there, deleted documents stay gone, a search waits for the
change that it names, what was shown is on record, each response is of one release, what is partial says so, nothing
that is right is refused, and nobody sees an error after one retry (but where a row promises a refusal, or nothing can
answer). The others break storage, files, models, feedback or training below the
gateway, without traffic, and compare what is there afterwards with what was acknowledged, or what is decided with what
is true; row 21 also sends what is no request to a running service. A zero means little without its number of trials, so
that stands beside it. The last column is the same check with one defence switched off: a test that cannot fail proves
nothing. Rows 6, 7, 12 to 15, 20 and 22 have traffic since 2026-12-01: a line of an earlier day ran without it, and
under a milder model, which took any refusal for one that was promised.

`make chaos` runs all rows at length and ten minutes of random faults (`MINUTES=30` for more), and writes this page;
`make chaos-4` runs row 4. A short form is part of `make test`. Seeds are printed; `--chaos-seed` repeats one.
"Back after" counts to the last response that was partial, failed or tried twice, or until the part was replaced.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of some trials of one fault.

    Attributes:
        row: as in PROMISES; MIXED for random faults.
        violations: of the row's promise; with a defence switched off they are what was hoped for.
        seconds: to recovery, the worst of these trials; None where nothing has to recover.
        defence: which one was switched off; empty: none, this is the product.
        seen_without_it: what was seen then.
        on: the day of the trials; a page may be written later.
    """

    row: int
    fault: str
    trials: int
    violations: int
    seconds: float | None = None
    seed: int = 0
    defence: str = ""
    seen_without_it: str = ""
    on: str = field(default_factory=lambda: date.today().isoformat())


def append(file: Path, result: Result) -> None:
    """Add a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(result)) + "\n")


def read(files: Iterable[Path]) -> list[Result]:
    """All results of these files."""
    return [Result(**json.loads(line)) for file in files for line in file.read_text().splitlines() if line.strip()]


def page(results: Sequence[Result], before: str = "") -> str:
    """The whole page. `before`: the page as it was."""
    header = [
        "| # | fault | promise | injected (trials) | trials | violations | with a defence switched off | on |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines = _lines(before)
    for row in {result.row for result in results}:
        lines[row] = _line(row, [result for result in results if result.row == row])
    table = [line for _, line in sorted(lines.items(), key=lambda each: (each[0] == MIXED, each[0]))]
    missing = [f"{row} ({fault})" for row, (fault, _) in PROMISES.items() if row not in lines]
    rest = f"\nNo trial on this page: {', '.join(missing)}.\n" if missing else ""
    where = f"On a machine with {os.cpu_count()} cores. The last column says on which day a row ran.\n"
    return "\n".join([INTRODUCTION, where, *header, *table]) + "\n" + rest


def _lines(written: str) -> dict[int, str]:
    """Row -> its line of a page."""
    lines = [line for line in written.splitlines() if line.startswith("| ")]
    firsts = [(line.split("|")[1].strip(), line) for line in lines]
    return {int(first or MIXED): line for first, line in firsts if first.isdecimal() or not first}


def _line(row: int, results: Sequence[Result]) -> str:
    fault, promise = PROMISES.get(
        row, ("faults at random, under mixed traffic", "success at least 99.9 % with one retry")
    )
    kept = [result for result in results if not result.defence]
    cells: list[Any] = [
        "" if row == MIXED else row,
        fault,
        promise,
        "<br>".join(_by_fault(kept)),
        sum(result.trials for result in kept),
        sum(result.violations for result in kept),
        "<br>".join(dict.fromkeys(f"{r.defence}: {r.seen_without_it}" for r in results if r.defence)),
        max(result.on for result in results),
    ]
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def _by_fault(kept: Sequence[Result]) -> list[str]:
    """What was done, how often, and after how long all was well again."""
    lines = []
    for fault in dict.fromkeys(result.fault for result in kept):
        same = [result for result in kept if result.fault == fault]
        lines.append(f"{fault} ({sum(result.trials for result in same)}{_back(same)})")
    return lines


def _back(results: Sequence[Result]) -> str:
    seconds = [result.seconds for result in results if result.seconds is not None]
    if not any(seconds):
        return ""
    return f"; back after {statistics.median(seconds):.1f} s, at worst {max(seconds):.1f} s"


def main(arguments: Sequence[str]) -> int:
    """Write the page from the files named; returns the exit status."""
    results = read(Path(argument) for argument in arguments)
    if not results:
        sys.stderr.write("No results: run `make chaos` first.\n")
        return 1
    PAGE.write_text(page(results, PAGE.read_text() if PAGE.exists() else ""))
    sys.stderr.write(f"{PAGE}: {sum(result.trials for result in results)} trials\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
