"""Windows of traffic against their reference."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jobs import measure_drift
from kaizen.answering.answer import NOT_IN_DOCUMENTS
from kaizen.errors import NotFound
from kaizen.monitoring.drift import Report, compare, sketch
from kaizen.monitoring.reference import Reference, read_reference, reference_name, write_reference
from kaizen.monitoring.window import Window, window_of
from kaizen.records import Feedback, Impression, ShownChunk
from kaizen.storage.manifest import MANIFEST_FILE
from kaizen.storage.object_store import open_store


def traffic(draw: np.random.Generator, count: int, *, cosine: float = 0.6, clicks: float = 0.6) -> Window:
    """A window of `count` searches, no two alike."""
    return Window(
        first=1, last=count, queries=tuple(f"q{number}" for number in range(count)),
        cosines=tuple(draw.normal(cosine, 0.1, count)), patience_s=20.0,
        unclicked=int(draw.binomial(count, 1 - clicks)), searches=count,
        abstained=0, answers=0, thumbs_down=0, thumbs=0,
    )  # fmt: skip


def points(draw: np.random.Generator, count: int, centre: float = 0.0) -> np.ndarray:
    return sketch(draw.normal(centre, 1, (count, 64)))


def signals(report: Report) -> set[str]:
    return {reading.signal for reading in report.alarms}


def test_no_change_raises_no_alarm() -> None:
    draw = np.random.default_rng(6)
    alarms = 0
    for _ in range(12):  # each against a reference of its own
        report = compare(traffic(draw, 200), traffic(draw, 120), (points(draw, 200), points(draw, 120)))
        alarms += bool(report.alarms)
    assert alarms <= 1


def test_each_signal_is_told_apart() -> None:
    draw = np.random.default_rng(7)
    before, same = traffic(draw, 400), (points(draw, 300), points(draw, 200))
    assert signals(compare(before, traffic(draw, 200, cosine=0.4), same)) == {"scores"}
    assert signals(compare(before, traffic(draw, 200, clicks=0.3), same)) == {"no_click"}
    assert signals(compare(before, traffic(draw, 200), (points(draw, 300), points(draw, 200, 0.5)))) == {"queries"}
    answered = replace(before, answers=200, abstained=10, thumbs=150, thumbs_down=15)
    worse = replace(traffic(draw, 200), answers=200, abstained=80, thumbs=150, thumbs_down=70)
    assert signals(compare(answered, worse, same)) == {"abstention", "thumbs_down"}
    (words,) = [one.words for one in compare(before, traffic(draw, 200, clicks=0.3), same).alarms]
    assert "get no click; it was" in words


def test_little_traffic_says_nothing() -> None:
    draw = np.random.default_rng(8)
    report = compare(traffic(draw, 400), traffic(draw, 60, clicks=0.0), (points(draw, 300), points(draw, 60, 2.0)))
    assert report.readings == ()


def test_a_reference_is_kept_without_its_queries(tmp_path: Path) -> None:
    store, draw = open_store(str(tmp_path)), np.random.default_rng(9)
    window, name = traffic(draw, 120), reference_name("r1-00000000", 0, 120)
    assert read_reference(store, name) is None
    write_reference(store, name, Reference("r1-00000000", window, points(draw, 120)))
    found = read_reference(store, name)
    assert found is not None
    assert (found.release, found.window, found.sketch.shape) == (
        "r1-00000000", replace(window, queries=()), (120, 32),
    )  # fmt: skip


def test_what_a_window_counts() -> None:
    rows = [shown(1, "Why?"), shown(2, "why?"), shown(3, "how", shadow=True), shown(4, "who", answer="Me.")]
    rows.append(shown(5, "where", answer=NOT_IN_DOCUMENTS))
    given = [judged("imp_1", "click", 1), judged("imp_4", "thumb", -1), judged("imp_9", "thumb", 1)]
    window = window_of(rows, given, queries=2, now=100)
    assert window == Window(
        first=1, last=5, queries=("Why?", "who"), cosines=(0.5, 0.5), patience_s=20, unclicked=1, searches=2,
        abstained=1, answers=2, thumbs_down=1, thumbs=1,
    )  # fmt: skip


def test_what_somebody_repeats_is_counted_once_and_a_robot_is_a_part_at_most() -> None:
    people = [shown(seq, f"q{seq}", user=f"u{seq % 40}") for seq in range(1, 501)]
    clicks = [judged(f"imp_{seq}", "click", 1) for seq in range(2, 501, 2)]
    repeated = [shown(seq, " Up?" if seq % 2 else "up?", user="robot") for seq in range(501, 751)]
    many = [shown(seq, f"q{seq}", user="robot") for seq in range(501, 751)]
    asked = [shown(seq, "again", answer=NOT_IN_DOCUMENTS, user="robot") for seq in range(751, 801)]
    thumbs = [judged(f"imp_{seq}", "thumb", -1 if seq < 790 else 1, identity="k/robot") for seq in range(751, 801)]

    def rates(rows: list[tuple[int, Impression]], given: list[Feedback]) -> tuple[int, ...]:
        found = window_of(rows, [*clicks, *given], queries=9, now=1000)
        return found.unclicked, found.searches, found.abstained, found.answers, found.thumbs_down, found.thumbs

    assert rates(people, []) == (250, 500, 0, 0, 0, 0)
    assert rates([*people, *repeated, *asked], thumbs) == (251, 501, 1, 1, 0, 1)
    unclicked, searches, *_ = rates([*people, *many], [])
    assert (unclicked - 250, searches - 500) == (56, 56)
    alone = [shown(seq, f"q{seq}", user="application") for seq in range(1, 501)]
    assert rates(alone, [])[:2] == (250, 500), "who makes most of all requests is what the service is there for"


def test_a_search_counts_when_it_is_old_enough_and_a_click_when_it_came_in_time() -> None:
    rows = [shown(seq, f"q{seq}", at=at) for seq, at in enumerate((0, 10, 20, 71), start=1)]
    given = [judged("imp_1", "click", 1, at=29), judged("imp_2", "click", 1, at=41), judged("imp_3", "click", 1, at=99)]
    given += [judged("imp_3", "click", 1, at=30), judged("imp_4", "click", 1, at=72)]

    def rate(now: float) -> tuple[int, int]:
        window = window_of(rows, given, queries=9, now=now, patience_s=30)
        return window.unclicked, window.searches

    assert [rate(now) for now in (29, 30, 49, 50, 100, 101, 10_000)] == [
        (0, 0), (0, 1), (1, 2), (1, 3), (1, 3), (1, 4), (1, 4),
    ]  # fmt: skip


def test_the_patience_of_a_window_is_that_in_which_nearly_all_of_its_clicks_came() -> None:
    rows = [shown(seq, f"q{seq}") for seq in range(1, 101)]
    clicks = [judged(f"imp_{seq}", "click", 1, at=seq) for seq in range(1, 101)]
    assert window_of(rows, clicks, queries=9, now=1000).patience_s == pytest.approx(95, abs=1)
    assert window_of(rows, clicks[:20], queries=9, now=1000).patience_s == 20
    late = [replace(click, at=10 * click.at) for click in clicks]
    assert window_of(rows, late, queries=9, now=1000).patience_s == 120


@pytest.mark.parametrize(("rate", "later"), [(1, 0), (3, 0), (10, 120), (10, 86400)])
def test_clicks_that_are_still_to_come_are_no_drift(rate: int, later: float) -> None:
    """Traffic that never changes, measured so much later than its end: half of it is clicked on, after a minute."""
    draw, alarms, readings = np.random.default_rng(11), 0, 0
    for _ in range(5):
        at = np.arange(1, 2001) / rate
        clicked = np.where(draw.random(2000) < 0.5, at + draw.lognormal(np.log(60), 1, 2000), np.inf)
        rows = [shown(seq, "q", at=float(moment)) for seq, moment in enumerate(at, start=1)]
        now = float(at[-1]) + later
        clicks = [
            judged(f"imp_{seq}", "click", 1, at=float(moment)) for seq, moment in enumerate(clicked, 1) if moment <= now
        ]
        before = window_of(rows[:1000], clicks, queries=9, now=now)
        recent = window_of(rows[1000:], clicks, queries=9, now=now, patience_s=before.patience_s)
        report = compare(before, recent, (np.zeros((0, 32)), np.zeros((0, 32))))
        alarms += bool(report.alarms)
        readings += len(report.readings)
    assert alarms == 0
    assert readings == 5


def test_fewer_clicks_are_still_seen() -> None:
    draw = np.random.default_rng(12)
    rows = [shown(seq, "q", at=seq) for seq in range(1, 1701)]
    liked = np.where(np.arange(1700) < 1000, 0.5, 0.35)
    clicks = [
        judged(f"imp_{seq}", "click", 1, at=seq + float(draw.lognormal(np.log(20), 1)))
        for seq in range(1, 1701)
        if draw.random() < liked[seq - 1]
    ]
    before = window_of(rows[:1000], clicks, queries=9, now=1700)
    recent = window_of(rows[1000:], clicks, queries=9, now=1700, patience_s=before.patience_s)
    assert signals(compare(before, recent, (np.zeros((0, 32)), np.zeros((0, 32))))) == {"no_click"}


def test_a_reference_that_counted_otherwise_is_taken_anew(tmp_path: Path) -> None:
    store, draw = open_store(str(tmp_path / "store")), np.random.default_rng(9)
    made, name = Reference("r1-00000000", traffic(draw, 120), points(draw, 120)), reference_name("r1-00000000", 0, 120)
    write_reference(store, name, made)
    old = tmp_path / "old"
    shutil.copytree(store.fetch_directory(name), old, ignore=shutil.ignore_patterns(MANIFEST_FILE))
    record = json.loads((old / "record.json").read_text())
    del record["counts"]
    (old / "record.json").write_text(json.dumps(record))
    store.delete(name)
    store.put_directory(name, old)
    assert read_reference(store, name) is None
    write_reference(store, name, made)
    found = read_reference(store, name)
    assert found is not None
    assert found.window.patience_s == 20


def shown(
    seq: int, query: str, *, shadow: bool = False, answer: str | None = None, at: float = 0, user: str = ""
) -> tuple[int, Impression]:
    chunk = ShownChunk(chunk_id="c", document_id="c", position=1, score=1, dense=0.5, lexical=None, propensity=1)
    return seq, Impression(
        id=f"imp_{seq}", at=at, tenant="t", key_id="k", release="r", index_seq=1, query=query, mode="hybrid",
        kind="search" if answer is None else "answer", shown=(chunk,), answer=answer, coverage=1, degraded=(),
        timings_ms={}, arm="shadow" if shadow else "stable", user=user or f"u{seq}",
    )  # fmt: skip


def judged(impression: str, kind: str, value: float, *, at: float = 0, identity: str = "k") -> Feedback:
    return Feedback(
        id=f"fb_{impression}", at=at, tenant="t", impression_id=impression, kind=kind,  # type: ignore[arg-type]
        chunk_id="", value=value, text="", identity=identity, idempotency_key="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "end", "bounds"),
    [
        ([], 2, ((0, 1), (1, 2))),
        ([], 801, ((0, 401), (401, 801))),
        ([], 1500, ((0, 750), (750, 1500))),
        ([], 5000, ((3000, 4000), (4000, 5000))),
        (["--end", "800"], 5000, ((0, 400), (400, 800))),
        (["--since", "0", "--end", "1"], 0, ((0, 0), (0, 1))),
        (["--after", "5", "--until", "9", "--since", "7", "--end", "8"], 0, ((5, 9), (7, 8))),
    ],
)
def test_without_bounds_the_newest_impressions_are_parted(
    options: list[str], end: int, bounds: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    ledger: Any = SimpleNamespace(impressions=SimpleNamespace(end=lambda: end))
    assert measure_drift._bounds(measure_drift._parser().parse_args(options), ledger) == bounds


@pytest.mark.parametrize("end", [0, 1])
def test_too_few_impressions_to_part_are_told(end: int) -> None:
    ledger: Any = SimpleNamespace(impressions=SimpleNamespace(end=lambda: end))
    with pytest.raises(NotFound, match="nothing to compare"):
        measure_drift._bounds(measure_drift._parser().parse_args([]), ledger)
