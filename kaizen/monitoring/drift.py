"""Has the traffic changed since a release's reference was taken?

Five signals are compared, each by a test whose p-value holds when nothing changed, and FALSE_ALARM is shared out
among them: a window in which nothing changed raises an alarm with a chance of at most 1 %. Windows do not overlap,
so no impression is looked at twice. A change must also be large enough to matter (`least` of its rule): with enough
traffic everything is significant. The tests take queries for exchangeable; so a query counts once, however often it
is asked. Many queries of one person in one mood can still look like drift; what that costs is a turn of learning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from kaizen.monitoring.two_sample import TwoSample, energy_test, rate_test, score_test
from kaizen.monitoring.window import Window

REFERENCE_QUERIES = 500
WINDOW_QUERIES = 300
LEAST_QUERIES = 100  # distinct ones on each side; with fewer nothing is said
FALSE_ALARM = 0.01  # of a whole window
SKETCH_DIM = 32
_SKETCH_SEED = 7

Signal = Literal["queries", "scores", "abstention", "no_click", "thumbs_down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One signal of a window against its reference. `before`, `now`: the figure itself, where it is one."""

    signal: Signal
    p: float
    effect: float
    alarm: bool
    before: float | None = None
    now: float | None = None

    @property
    def words(self) -> str:
        """For people."""
        return _RULES[self.signal].words.format(
            before=self.before or 0, now=self.now or 0, effect=self.effect, p=self.p
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All signals that had enough traffic on both sides, and the windows they were read from."""

    reference: tuple[int, int]
    recent: tuple[int, int]
    readings: tuple[Reading, ...]

    @property
    def alarms(self) -> tuple[Reading, ...]:
        """The signals that changed."""
        return tuple(reading for reading in self.readings if reading.alarm)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "readings": [{**asdict(one), "words": one.words} for one in self.readings]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    least: float
    words: str


_RULES: Mapping[Signal, _Rule] = {
    "queries": _Rule(
        least=0.006,  # about a quarter of the queries on something new, measured between collections
        words="The queries are about other things than the reference (inhomogeneity {effect:.3f}, p {p:.4f}).",
    ),
    "scores": _Rule(
        least=0.15,
        words="The best cosine went from {before:.3f} to {now:.3f} in the median (distance {effect:.2f}, p {p:.4f}).",
    ),
    "abstention": _Rule(least=0.05, words="{now:.1%} of the answers abstain; it was {before:.1%} (p {p:.4f})."),
    "no_click": _Rule(least=0.05, words="{now:.1%} of the searches get no click; it was {before:.1%} (p {p:.4f})."),
    "thumbs_down": _Rule(least=0.05, words="{now:.1%} of the thumbs are down; it was {before:.1%} (p {p:.4f})."),
}


def sketch(vectors: np.ndarray) -> np.ndarray:
    """Return (n, SKETCH_DIM) float32: fixed random projections of (n, dim), which keep distances to about a tenth.

    Small enough to keep with a release, and no way back to the queries (Johnson and Lindenstrauss' lemma).
    """
    directions = np.random.default_rng(_SKETCH_SEED).normal(size=(vectors.shape[1], SKETCH_DIM))
    projected: np.ndarray = (vectors @ (directions / np.sqrt(SKETCH_DIM))).astype(np.float32)
    return projected


def compare(
    reference: Window, recent: Window, sketches: tuple[np.ndarray, np.ndarray], *, false_alarm: float = FALSE_ALARM
) -> Report:
    """Compare a recent window with a reference; `sketches` are those of their queries, in this order."""
    level = false_alarm / len(_RULES)
    found = [_queries(sketches), _scores(reference, recent), *_rates(reference, recent)]
    readings = [
        Reading(
            signal=signal, p=test.p, effect=test.effect, before=before, now=now,
            alarm=test.p <= level and test.effect >= _RULES[signal].least,
        )
        for signal, test, before, now in filter(None, found)
    ]  # fmt: skip
    return Report(
        reference=(reference.first, reference.last), recent=(recent.first, recent.last), readings=tuple(readings)
    )


_Found = tuple[Signal, TwoSample, float | None, float | None] | None


def _queries(sketches: tuple[np.ndarray, np.ndarray]) -> _Found:
    if min(map(len, sketches)) < LEAST_QUERIES:
        return None
    return "queries", energy_test(*sketches), None, None


def _scores(reference: Window, recent: Window) -> _Found:
    if min(len(reference.cosines), len(recent.cosines)) < LEAST_QUERIES:
        return None
    before, now = np.asarray(reference.cosines), np.asarray(recent.cosines)
    return "scores", score_test(before, now), float(np.median(before)), float(np.median(now))


def _rates(reference: Window, recent: Window) -> list[_Found]:
    rates: Mapping[Signal, Callable[[Window], tuple[int, int]]] = {
        "abstention": lambda window: (window.abstained, window.answers),
        "no_click": lambda window: (window.unclicked, window.searches),
        "thumbs_down": lambda window: (window.thumbs_down, window.thumbs),
    }
    return [_rate(signal, rate(reference), rate(recent)) for signal, rate in rates.items()]


def _rate(signal: Signal, before: tuple[int, int], now: tuple[int, int]) -> _Found:
    if min(before[1], now[1]) < LEAST_QUERIES:
        return None
    return signal, rate_test(before, now), before[0] / before[1], now[0] / now[1]
