"""Comparison, slices, verdict and report."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from kaizen.evaluation.paired import Paired, compare
from kaizen.evaluation.report import build_report
from kaizen.evaluation.report_html import report_html
from kaizen.evaluation.slices import by_length, by_metadata, compare_slices
from kaizen.evaluation.verdict import Compared, Evidence, Finding, VerdictBounds, judge

QUERIES = [f"q{number:03d}" for number in range(200)]


def sides(gain: float, seed: int = 0, spread: float = 0.2, queries: int = 200) -> Paired:
    rng = np.random.default_rng(seed)
    before = dict(zip(QUERIES[:queries], rng.random(queries), strict=True))
    noise = spread * rng.standard_normal(queries)
    noise -= noise.mean()
    return compare(before, {name: value + gain + n for (name, value), n in zip(before.items(), noise, strict=True)})


def on(gain: float, **others: Paired) -> Compared:
    metrics = {"ndcg@10": sides(gain), "recall@100": sides(0.0), "mrr@10": sides(gain)}
    return Compared(metrics={**metrics, **others})


def test_interval_and_p_agree_with_the_t_test() -> None:
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(1)
    differences = rng.normal(0.03, 0.2, 200)
    found = compare(dict.fromkeys(QUERIES, 0.0), dict(zip(QUERIES, differences, strict=True)))
    test = ttest_1samp(differences, 0, alternative="greater")
    interval = ttest_1samp(differences, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.003)
    assert found.p == pytest.approx(test.pvalue, abs=0.01)
    assert found == compare(dict.fromkeys(QUERIES, 0.0), dict(zip(QUERIES, differences, strict=True)))


def test_the_smallest_gain_is_found_four_times_in_five() -> None:
    smallest = sides(0.0, spread=0.2).smallest
    rng = np.random.default_rng(2)
    found = [
        compare(dict.fromkeys(QUERIES, 0.0), dict(zip(QUERIES, rng.normal(smallest, 0.2, 200), strict=True))).better
        for _ in range(60)
    ]
    assert 0.65 < np.mean(found) < 0.95


def test_equal_sides_are_no_difference() -> None:
    found = sides(0.0, spread=0.0)
    assert (found.difference, found.low, found.high, found.p, found.p_worse) == (0, 0, 0, 1, 1)
    assert not found.better
    assert not found.worse


def few(*changes: float, queries: int = 100) -> Paired:
    """All queries are the same on both sides, but for these."""
    before = dict.fromkeys(QUERIES[:queries], 0.5)
    return compare(before, before | {name: 0.5 + change for name, change in zip(QUERIES, changes, strict=False)})


@pytest.mark.parametrize(("changed", "proven"), [(3, False), (4, False), (6, True)])
def test_a_difference_of_few_queries_is_proven_when_signs_thrown_at_random_hardly_give_it(
    changed: int, proven: bool
) -> None:
    up, down = few(*[0.1] * changed), few(*[-0.1] * changed)
    assert (up.low > 0, down.high < 0) == (True, True)
    assert (up.better, down.worse) == (proven, proven)
    assert (up.p, up.p_worse) == pytest.approx((0.5**changed, 1), abs=0.02)
    assert (down.p, down.p_worse) == pytest.approx((1, 0.5**changed), abs=0.02)


def test_chance_on_few_queries_proves_nothing() -> None:
    rng = np.random.default_rng(1)
    found = [few(*rng.choice([-1, 1], 3) * rng.uniform(0.05, 0.4, 3)) for _ in range(100)]
    assert sum(one.low > 0 for one in found) > 5
    assert not [one for one in found if one.better or one.worse]


def test_a_verdict_says_why_a_gain_is_not_proven() -> None:
    judged = judge(Evidence(held_out=Compared(metrics={"ndcg@10": few(0.1, 0.1, 0.1)})))
    assert (judged.verdict, judged.code) == ("keep_testing", "unproven")
    assert "chance alone gives as much with p 0.13, and 0.05 is borne" in judged.reason
    missed = judge(Evidence(held_out=on(0.005))).reason
    assert missed.endswith("would have been found four times in five.")


def test_a_verdict_says_how_many_trusted_queries_are_left_out() -> None:
    evidence = Evidence(held_out=on(0.1), left_out=35)
    judged = judge(evidence)
    assert judged.code == "better"
    told = "35 trusted queries are left out, as their tenant has none of the relevant documents"
    assert judged.reason.endswith(f" {told}: see `kaizen trusted list`.")
    report = build_report(
        name="report_1", candidate="r2", stable="r1", at=0.0, index_seq=7, record={}, evidence=evidence,
        bounds=VerdictBounds(), judged=judged,
    )  # fmt: skip
    assert report["left_out"] == 35


def test_a_fall_on_few_queries_is_left_to_people_unless_it_is_more_than_is_borne() -> None:
    small, large = few(*[-0.1] * 3), few(*[-0.4] * 3)
    found = [judge(Evidence(held_out=Compared(metrics={"ndcg@10": fall}))) for fall in (small, large)]
    assert [one.code for one in found] == ["unproven", "guard-metric"]
    assert judge(Evidence(held_out=Compared(metrics={"ndcg@10": few(*[-0.1] * 6)}))).code == "worse"


def test_a_gain_that_is_not_proven_does_not_hide_that_it_learnt_by_heart() -> None:
    held_out = Compared(metrics={"ndcg@10": few(0.1, 0.1, 0.1)})
    assert judge(Evidence(held_out=held_out, train=on(0.3))).code == "over-fitted"
    doubtful = Compared(metrics={"ndcg@10": few(*[0.4] * 3)})
    assert judge(Evidence(trusted=on(-0.005), held_out=doubtful)).code != "feedback-disagrees"


def test_slices_of_metadata_and_length() -> None:
    relevant = {"q1": ["d1"], "q2": ["d1", "d2"], "q3": ["gone"]}
    metadata = {"d1": {"kind": "law", "year": 1999, "tags": ("a", "b")}, "d2": {"kind": "news", "public": True}}
    assert by_metadata(relevant, metadata) == {
        "kind = law": {"q1", "q2"}, "kind = news": {"q2"}, "public = true": {"q2"},
        "tags = a": {"q1", "q2"}, "tags = b": {"q1", "q2"},
    }  # fmt: skip
    assert by_length({"q1": "two words", "q2": "w " * 20}) == {
        "query length = 1 to 3 words": {"q1"}, "query length = 9 words or more": {"q2"},
    }  # fmt: skip
    names = {f"d{number}": {"name": f"n{number}"} for number in range(30)}
    assert by_metadata({"q": list(names)}, names) == {}


def test_small_slices_of_noise_raise_no_alarm() -> None:
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(100):
        differences = dict(zip(QUERIES, rng.normal(0, 0.3, 200), strict=True))
        parts = {f"s{start}": frozenset(QUERIES[start : start + 10]) for start in range(0, 200, 10)}
        alarms += compare_slices(differences, parts)[0].high < 0
    assert alarms <= 10


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (Evidence(held_out=on(0.1)), ("promote", "better")),
        (Evidence(held_out=on(-0.1)), ("reject", "worse")),
        (Evidence(held_out=on(0.005)), ("keep_testing", "unproven")),
        (Evidence(), ("keep_testing", "no-judgements")),
        (Evidence(held_out=Compared(metrics={"ndcg@10": sides(0.2, queries=20)})), ("keep_testing", "no-judgements")),
        (Evidence(held_out=on(0.1), findings=[Finding(code="nan-weights", reason="NaN.")]), ("reject", "nan-weights")),
        (Evidence(held_out=on(0.1), p50_ms=(10, 50)), ("reject", "slow")),
        (Evidence(held_out=on(0.1), p50_ms=(1, 5)), ("promote", "better")),
        (Evidence(trusted=on(-0.02), held_out=on(0.1)), ("reject", "feedback-disagrees")),
        (Evidence(trusted=on(0.1), held_out=on(-0.005)), ("promote", "better")),
        (Evidence(held_out=on(0.0), train=on(0.3)), ("reject", "over-fitted")),
        (Evidence(held_out=on(0.1), train=on(0.3)), ("promote", "better")),
        (Evidence(held_out=on(0.1, **{"recall@100": sides(-0.05)})), ("reject", "guard-metric")),
        (Evidence(held_out=on(0.1), cpu_s=1e7), ("reject", "not-worth-it")),
        (Evidence(held_out=on(0.0), answers=Compared(metrics={"agreement": sides(0.1)})), ("promote", "better")),
        (
            Evidence(answers=Compared(metrics={"agreement": sides(0.1), "grounded": sides(-0.1)})),
            ("reject", "guard-metric"),
        ),
    ],
)
def test_verdicts(evidence: Evidence, expected: tuple[str, str]) -> None:
    judged = judge(evidence)
    assert (judged.verdict, judged.code) == expected
    assert judged.reason.endswith(".")


def test_better_on_average_and_far_worse_on_a_slice_is_rejected() -> None:
    rng = np.random.default_rng(4)
    differences = dict(zip(QUERIES, rng.normal(0.15, 0.2, 200), strict=True))
    losers = frozenset(QUERIES[:15])
    differences |= {name: float(rng.normal(-0.5, 0.3)) for name in losers}
    slices = compare_slices(differences, {"lang = de": losers, "lang = en": frozenset(QUERIES) - losers})
    assert slices[0].name == "lang = de"
    judged = judge(Evidence(held_out=Compared(metrics=on(0.1).metrics, slices=slices)))
    assert (judged.verdict, judged.code) == ("reject", "slice")


@pytest.mark.parametrize(("changed", "colour"), [(3, "#555"), (6, "#1b7f3b"), (-3, "#555"), (-6, "#b3261e")])
def test_a_chart_colours_what_is_proven(changed: int, colour: str) -> None:
    figure = few(*[0.001 if changed > 0 else -0.001] * abs(changed))
    evidence = Evidence(held_out=Compared(metrics={"ndcg@10": figure}))
    report = build_report(
        name="reports/c/report_1",
        candidate="r2", stable="r1", at=0.0, index_seq=7, record={}, evidence=evidence, bounds=VerdictBounds(),
        judged=judge(evidence),
    )  # fmt: skip
    assert f'stroke="{colour}" stroke-width="2"' in report_html(report)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_the_page_escapes_all_and_needs_nothing_else() -> None:
    evil = "</pre><script>alert(1)</script><img src=x>"
    slices = compare_slices(dict.fromkeys(QUERIES, 0.1), {f"kind = {evil}": frozenset(QUERIES[:50])})
    evidence = Evidence(
        findings=[Finding(code="x", reason=evil)],
        held_out=Compared(metrics=on(0.1).metrics, slices=slices),
        p50_ms=(1.0, 2.0),
        cpu_s=40.0,
    )
    report = build_report(
        name="reports/c/report_1",
        candidate="r2", stable="r1", at=0.0, index_seq=7, record={"dataset": evil}, evidence=evidence,
        bounds=VerdictBounds(), judged=judge(evidence),
    )  # fmt: skip
    page = report_html(json.loads(json.dumps(report, allow_nan=False)))
    found = _Tags()
    found.feed(page)
    assert not {"script", "img", "link", "iframe"} & set(found.tags)
    assert {"svg", "table"} <= set(found.tags)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
