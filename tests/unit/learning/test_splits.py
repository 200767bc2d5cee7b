"""Queries that are one query, nearly one, and on one side."""

from __future__ import annotations

from collections import Counter

import pytest

from kaizen.learning.splits import HELD_OUT, Nearness, query_id, split_of


@pytest.mark.parametrize("other", ["what is a LATHE", "  What  is a lathe ", "What is a lathe?", "what is a lathe ."])
def test_spellings_are_one_query(other: str) -> None:
    assert query_id("t", "What is a lathe") == query_id("t", other)


def test_another_text_or_tenant_is_another_query() -> None:
    assert len({query_id("t", "lathe"), query_id("t", "lathes"), query_id("u", "lathe")}) == 3


def test_near_queries_hang_together() -> None:
    near = Nearness(
        [
            "how to oil the bearings of a water pump",
            "price of emeralds in Bogota",
            "how to oil the bearing of the water pumps",
            "oil price",
            "how to oil a bearing of the water pump quickly",
        ]
    )
    assert [near.leader(number) for number in range(5)] == [0, 1, 0, 3, 0]


def test_texts_without_terms_are_near_only_to_themselves() -> None:
    near = Nearness(["???", "!!", "???"])
    assert [near.leader(number) for number in range(3)] == [0, 1, 0]


def test_about_a_fifth_is_held_out_and_a_seed_draws_anew() -> None:
    names = [f"query {number}" for number in range(2000)]
    sides = [split_of(name, 0) for name in names]
    assert Counter(sides)["held_out"] / 2000 == pytest.approx(HELD_OUT, abs=0.03)
    assert sides == [split_of(name, 0) for name in names]
    assert sides != [split_of(name, 1) for name in names]
