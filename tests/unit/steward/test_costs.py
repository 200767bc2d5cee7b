"""What a rung may cost, from what it cost before."""

from __future__ import annotations

import pytest

from kaizen.steward.costs import FIRST_DOCUMENT_ESTIMATE, FIRST_ESTIMATES, estimates, index_estimate
from kaizen.steward.state import Attempt, AttemptVerdict


def attempt(rung: int, cpu_s: float, verdict: AttemptVerdict | None = "reject", *, index: float = 0.0) -> Attempt:
    release = f"r-{rung}-{cpu_s}"
    return Attempt(
        rung=rung, parent="s", release=release, verdict=verdict, cpu_s=cpu_s, index_cpu_s=index, documents=100
    )


def test_before_anything_was_tried_a_rung_may_cost_what_it_does_on_a_small_machine() -> None:
    assert estimates([]) == FIRST_ESTIMATES


def test_costs_are_learnt_from_what_turns_tried_the_newest_five() -> None:
    tried = [attempt(2, cost) for cost in (90, 10, 50, 70, 60, 9000, 9000)]
    assert estimates(tried) == {**FIRST_ESTIMATES, 2: 60}


def test_what_did_not_come_to_its_end_says_nothing() -> None:
    nothing_new = Attempt(rung=1, parent="s", release="s", verdict="reject", cpu_s=1.0)
    assert estimates([attempt(1, 1, "failed"), attempt(1, 1, None), nothing_new]) == FIRST_ESTIMATES


def test_a_new_index_comes_on_top_and_is_that_of_all_documents_now() -> None:
    tried = [attempt(3, 1625 + 400, index=400), attempt(3, 1625, "left_out")]
    index = index_estimate(1000, tried, [(10, 1.0)])
    assert (index, estimates(tried, index)) == (4000, {**FIRST_ESTIMATES, 3: 1625 + 4000})


@pytest.mark.parametrize(
    ("ingested", "expected"),
    [([], 1000 * FIRST_DOCUMENT_ESTIMATE), ([(0, 5.0)], 1000 * FIRST_DOCUMENT_ESTIMATE), ([(30, 4.0), (10, 6.0)], 250)],
)
def test_the_first_index_costs_what_ingest_did(ingested: list[tuple[int, float]], expected: float) -> None:
    assert index_estimate(1000, [attempt(1, 5)], ingested) == pytest.approx(expected)
