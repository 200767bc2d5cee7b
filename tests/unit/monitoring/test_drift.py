"""Windows of traffic against their reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from kaizen.answering.answer import NOT_IN_DOCUMENTS
from kaizen.monitoring.drift import Report, compare, sketch
from kaizen.monitoring.reference import Reference, read_reference, reference_name, write_reference
from kaizen.monitoring.window import Window, window_of
from kaizen.records import Feedback, Impression, ShownChunk
from kaizen.storage.object_store import open_store


def traffic(draw: np.random.Generator, count: int, *, cosine: float = 0.6, clicks: float = 0.6) -> Window:
    """A window of `count` searches, no two alike."""
    return Window(
        first=1, last=count, queries=tuple(f"q{number}" for number in range(count)),
        cosines=tuple(draw.normal(cosine, 0.1, count)), unclicked=int(draw.binomial(count, 1 - clicks)),
        searches=count, abstained=0, answers=0, thumbs_down=0, thumbs=0,
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
    window = window_of(rows, given, queries=2)
    assert window == Window(
        first=1, last=5, queries=("Why?", "who"), cosines=(0.5, 0.5), unclicked=1, searches=2, abstained=1,
        answers=2, thumbs_down=1, thumbs=1,
    )  # fmt: skip


def shown(seq: int, query: str, *, shadow: bool = False, answer: str | None = None) -> tuple[int, Impression]:
    chunk = ShownChunk(chunk_id="c", document_id="c", position=1, score=1, dense=0.5, lexical=None, propensity=1)
    return seq, Impression(
        id=f"imp_{seq}", at=0, tenant="t", key_id="k", release="r", index_seq=1, query=query, mode="hybrid",
        kind="search" if answer is None else "answer", shown=(chunk,), answer=answer, coverage=1, degraded=(),
        timings_ms={}, arm="shadow" if shadow else "stable",
    )  # fmt: skip


def judged(impression: str, kind: str, value: float) -> Feedback:
    return Feedback(
        id=f"fb_{impression}", at=0, tenant="t", impression_id=impression, kind=kind,  # type: ignore[arg-type]
        chunk_id="", value=value, text="", identity="k", idempotency_key="",
    )  # fmt: skip
