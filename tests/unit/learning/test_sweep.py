"""Choosing among trials: the halves share no query, luck is what it is, and only what is proven is kept."""

from __future__ import annotations

import numpy as np
import pytest

from kaizen.evaluation.paired import compare
from kaizen.evaluation.scatter import Point, scatter_svg
from kaizen.learning.sweep import PRESENT, Trial, best, conclude, halves, luck

NAMES = [f"q{number:03d}" for number in range(120)]


def trial(number: int, values: np.ndarray, share: float = 1.0) -> Trial:
    """A trial with these values of NAMES."""
    return Trial(
        number=number, settings={}, values=dict(zip(NAMES, values.tolist(), strict=True)), share=share,
        steps=(), cpu_s=0.0, seconds=0.0,
    )  # fmt: skip


def equals(count: int, seed: int) -> list[Trial]:
    """Trials that are all as good as each other, and differ by chance."""
    rng = np.random.default_rng(seed)
    return [trial(number, rng.random(len(NAMES))) for number in range(PRESENT, PRESENT + count)]


def test_halves_are_nearly_equal_disjoint_whole_and_always_the_same() -> None:
    texts = {f"q{number}": f"subject{number} matter{number * 7}" for number in range(400)}
    validation, test = halves(texts)
    assert sorted(validation + test) == sorted(texts)
    assert 150 < len(validation) < 250
    assert halves(dict(reversed(texts.items()))) == (validation, test)


def test_queries_that_are_nearly_the_same_are_in_one_half() -> None:
    texts = {f"{side}{n}": f"pump{n} valve{n} gear{n} belt{n}{end}" for n in range(60) for side, end in ("a ", "b?")}
    validation, test = (set(names) for names in halves(texts))
    for number in range(60):
        pair = {f"a{number}", f"b{number}"}
        assert pair <= validation or pair <= test


def test_the_best_went_to_its_end_and_of_equals_the_first_wins() -> None:
    level = np.full(len(NAMES), 0.5)
    trials = [trial(1, level), trial(2, level), trial(3, level + 0.2, share=0.5)]
    assert best(trials).number == 1


def test_the_luck_of_equals_is_what_their_best_gains_on_average() -> None:
    seen, expected = [], []
    for seed in range(12):
        trials = equals(20, seed)
        seen.append(best(trials).mean - trials[0].mean)
        expected.append(luck(trials, seed=seed).expected)
    assert np.mean(expected) == pytest.approx(np.mean(seen), rel=0.3)


def test_trials_that_are_alike_have_little_luck() -> None:
    base = np.random.default_rng(0).random(len(NAMES))
    rng = np.random.default_rng(1)
    alike = [trial(1, base)] + [trial(n, base + 0.01 * rng.standard_normal(len(NAMES))) for n in range(2, 31)]
    assert luck(alike).expected < 0.1 * luck(equals(30, 0)).expected


def test_equals_are_hardly_ever_proven_and_a_real_gain_is() -> None:
    proven = 0
    for seed in range(12):
        trials = equals(20, seed)
        other = np.random.default_rng(1000 + seed).random((2, len(NAMES)))
        test = compare(*(dict(zip(NAMES, values.tolist(), strict=True)) for values in other))
        proven += conclude(trials, luck(trials), test).decision == "proven"
    assert proven <= 3
    base = np.random.default_rng(5).random(len(NAMES))
    better = base + 0.1
    trials = [trial(1, base), trial(2, better)]
    concluded = conclude(trials, luck(trials), compare(trials[0].values, trials[1].values))
    assert concluded.decision == "proven"
    assert "+0.1000" in concluded.reason


def test_a_gain_on_four_queries_is_not_proven_though_its_interval_is_above_0() -> None:
    base = np.full(len(NAMES), 0.5)
    trials = [trial(1, base), trial(2, base + 0.1 * (np.arange(len(NAMES)) < 4))]
    test = compare(trials[0].values, trials[1].values)
    assert test.low > 0
    concluded = conclude(trials, luck(trials), test)
    assert concluded.decision == "keep"
    assert f"chance alone gives as much with p {test.p:.2g}, and 0.05 is borne" in concluded.reason
    assert concluded.reason.endswith("Keep what you have.")


def test_without_a_winner_one_keeps_what_one_has() -> None:
    trials = equals(1, 0)
    assert conclude(trials, luck(trials), None).decision == "keep"


def test_a_chart_names_what_stands_out_and_nothing_gets_out_of_its_text() -> None:
    points = [Point(x=1, y=0.5, name="<present>"), Point(x=2, y=0.6)]
    svg = scatter_svg("a & b", ("trial", "ndcg"), points, [("level", 0.55)])
    assert svg.count("<circle") == 2
    assert "&lt;present&gt;" in svg
    assert "a &amp; b" in svg
    assert "level: 0.5500" in svg
