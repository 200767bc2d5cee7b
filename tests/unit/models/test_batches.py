"""Batches of like length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaizen.models.batches import batches, padded


def test_longest_first_and_rounded_up() -> None:
    assert list(batches([3, 17, 9, 16], budget=48, longest=64)) == [([1, 3], 24), ([2, 0], 16)]


def test_rounding_stops_at_the_longest() -> None:
    assert list(batches([60, 59], budget=1, longest=60)) == [([0], 60), ([1], 60)]


@given(st.lists(st.integers(1, 64)), st.integers(1, 300))
def test_every_row_once_and_within_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget=budget, longest=64))
    assert sorted(row for rows, _ in made for row in rows) == list(range(len(lengths)))
    assert all(len(rows) == 1 or len(rows) * length <= budget for rows, length in made)
    assert all(lengths[row] <= length for rows, length in made for row in rows)


def test_padding() -> None:
    ids, mask = padded([[5, 6, 7], [8]], 4)
    assert ids.tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
