"""Random swaps of neighbours: seldom, fair, told, and the same again for the same impression."""

from __future__ import annotations

from kaizen.retrieval.exploration import explore

TEN = list("abcdefghij")


def test_no_share_no_chance() -> None:
    assert explore(TEN, 0.0, "imp_1") == (TEN, [1.0] * 10)
    assert explore([], 1.0, "imp_1") == ([], [])
    assert explore(["a"], 1.0, "imp_1") == (["a"], [1.0])


def test_the_same_impression_draws_the_same() -> None:
    assert explore(TEN, 0.7, "imp_1") == explore(TEN, 0.7, "imp_1")


def test_pairs_are_drawn_as_often_as_told_and_swapped_half_of_the_time() -> None:
    drawn, swapped, places = 0, 0, set()
    for number in range(4000):
        order, propensities = explore(TEN, 0.25, f"imp_{number}")
        assert sorted(order) == TEN
        pair = [place for place, value in enumerate(propensities) if value == 0.5]
        assert set(propensities) <= {0.5, 1.0}
        if not pair:
            assert order == TEN
            continue
        assert pair[1] == pair[0] + 1
        drawn += 1
        places.add(pair[0])
        expected = list(TEN)
        if order != TEN:
            swapped += 1
            expected[pair[0]], expected[pair[1]] = expected[pair[1]], expected[pair[0]]
        assert order == expected
    assert abs(drawn - 1000) < 110  # four standard deviations
    assert abs(swapped - drawn / 2) < 64
    assert places == set(range(9))
