"""Queries that are one query, nearly one, and on one side."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from random import Random
from unittest.mock import patch

import pytest

from kaizen.learning.splits import HELD_OUT, NEAR, Nearness, Split, query_id, sides_of, split_of


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


def sides(texts: list[str]) -> dict[str, Split]:
    return dict(zip(texts, sides_of([query_id("t", text) for text in texts], Nearness(texts), 0), strict=True))


def test_what_is_asked_later_moves_nothing_that_was_trained_on() -> None:
    chance = Random(1)  # noqa: S311 (a simulation)
    words = [f"w{number}" for number in range(12)]  # few, so that later ones often bring two groups together
    asked = list(dict.fromkeys(" ".join(sorted(chance.sample(words, chance.randint(4, 6)))) for _ in range(300)))
    before: dict[str, Split] = {}
    for many in range(20, len(asked), 20):
        now = sides(asked[:many])
        assert [text for text, side in before.items() if side == "train" and now[text] == "held_out"] == []
        before = now


def test_near_queries_are_on_one_side_and_a_new_one_goes_where_the_first_went() -> None:
    first = [f"oil the bearing of pump {number}{number} in hall {number}" for number in range(200)]
    later = [f"{text} please" for text in first]
    found = sides(first + later)
    assert {text: found[text] for text in first} == sides(first)
    assert [found[text] for text in later] == [found[text] for text in first]
    assert Counter(found.values())["held_out"] / 400 == pytest.approx(HELD_OUT, abs=0.06)


def test_all_pairs_that_are_near_are_found() -> None:
    rng = Random(1)  # noqa: S311 (no secret)
    words = [f"w{number}x" for number in range(12)]
    for _ in range(40):
        texts = [" ".join(rng.sample(words, rng.randint(1, 8))) for _ in range(40)]
        near, sets = Nearness(texts), [frozenset(text.split()) for text in texts]
        group = {number: {number} for number in range(len(texts))}
        for one, other in combinations(range(len(texts)), 2):
            if len(sets[one] & sets[other]) >= NEAR * len(sets[one] | sets[other]):
                joined = group[one] | group[other]
                group |= dict.fromkeys(joined, joined)
        assert [near.leader(number) for number in group] == [min(group[number]) for number in group]


def test_queries_made_of_one_template_are_not_all_compared() -> None:
    with patch("kaizen.learning.splits._jaccard", side_effect=AssertionError("compared")):
        Nearness([f"delivery status of order {100_000 + number} in warehouse hamburg" for number in range(300)])
