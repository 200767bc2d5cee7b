"""Numbers that are the same compare as the same, however they are written, and others do not."""

from __future__ import annotations

import pytest

from kaizen.answering.numerals import numbers, shared


@pytest.mark.parametrize(
    "alike",
    [
        ("40", "forty", "040", "40.0"),
        ("-40", "\u221240", "\u201340", "minus 40", "minus forty", "(-40)", "`-40`", "**-40**", "\u201c-40\u201d"),
        ("21", "twenty-one", "twenty one", "Twenty-One"),
        ("3 %", "3%", "3 percent", "3 per cent", "three percent"),
        ("1%", "one percent"),
        ("3 million", "3,000,000", "3-million", "three million", "$3m", "3000 thousand"),
        ("1.5bn", "1.5 billion", "1,500 million"),
        ("205,000", "two hundred and five thousand"),
        ("106", "one hundred and six", "a hundred six"),
        ("2,000,000,000", "two thousand million"),
        ("0.05", ".05"),
        ("1.2.3", "v1.2.3"),
    ],
)
def test_one_number_however_it_is_written(alike: tuple[str, ...]) -> None:
    assert len({numbers(f"It is {text}.") for text in alike}) == 1
    assert len(numbers(alike[0])) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-40", "40"),
        ("twenty", "twenty-one"),
        ("3", "3 million"),
        ("3 million", "3 billion"),
        ("3", "3%"),
        ("3 m", "3 million"),
        ("1.2", "1.2.3"),
        ("5", ".5"),
    ],
)
def test_sign_magnitude_percent_and_version_make_another_number(one: str, other: str) -> None:
    assert not numbers(f"It is {one} there.") & numbers(f"It is {other} there.")


@pytest.mark.parametrize("text", ["10-20", "10 -20", "10\u201320", "pages 10 to 20", "COVID-10 (20)"])
def test_a_hyphen_is_no_minus(text: str) -> None:
    assert numbers(text) == {"10", "20"}


def test_a_date_is_no_version_and_one_is_rarely_a_number() -> None:
    assert numbers("on 18.06.2009 one of them") == {"18.06", "2009"}
    assert numbers("a phone, one million") == {"1000000"}


def test_half_a_million_is_not_a_million() -> None:
    assert numbers("half a million of them, a quarter of a billion") == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 5 to 10%", {"5", "5%"}),
        ("from 5% to 10%", {"5", "5%"}),
        ("3 or 4 million", {"3", "3000000"}),
        ("-7 and -3", {"-7"}),
        ("5 of 10%", set()),
        ("only 5%", set()),
    ],
)
def test_a_number_may_share_what_stands_behind_the_next(text: str, expected: set[str]) -> None:
    assert shared(text) == expected


def test_numbers_without_end_are_read_too() -> None:
    assert numbers("1" * 100_000 + ",111" * 10_000)
    assert max(map(len, numbers("three" + " million" * 10_000 + ", 3" + " million" * 10_000))) < 1000
    assert numbers("\u017fix thou\u017fand 5 \u017f") == {"5"}
