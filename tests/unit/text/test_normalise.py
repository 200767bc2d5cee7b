from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen.text.normalise import normalise, one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("e\u0301", "\u00e9"),
        ("one \t two\u00a0three", "one two three"),
        ("def f():\n\treturn  1  \n", "def f():\n    return 1"),
        ("a\n\n\n \n\nb", "a\n\nb"),
        ("zero\u200bwidth \u202ebidi\x07bell", "zerowidth bidibell"),
        ("visible\U000e0049\U000e0047", "visible"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("lone \ud800 surrogate", "lone surrogate"),
    ],
)
def test_one_form(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text())
def test_idempotent_and_encodable(text: str) -> None:
    once = normalise(text)
    once.encode()
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.text("ab -.", max_size=12))
def test_a_plain_line_takes_a_short_way_to_the_same_form(text: str) -> None:
    assert normalise(text) == normalise(f"{text}\u200b")


def test_a_letter_under_a_million_marks_takes_no_time() -> None:
    start = time.monotonic()
    assert len(normalise("a" + "\u0315\u0300" * 500_000)) <= 31
    assert time.monotonic() - start < 5


def test_a_title_is_one_short_line() -> None:
    assert one_line("  A\n title ", 5) == "A tit"
