from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen.text.sentences import sentence_spans


def _split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "Dr. Smith paid 3.5 dollars, e.g. for tea. He left.",
            ["Dr. Smith paid 3.5 dollars, e.g. for tea.", "He left."],
        ),
        ('He said "Go." Then he went.', ['He said "Go."', "Then he went."]),
        ("See Fig. 2 and J. Doe et al. Work goes on.", ["See Fig. 2 and J. Doe et al. Work goes on."]),
        ("He said no. Then, on p. 5 of no. 7, yes.", ["He said no.", "Then, on p. 5 of no. 7, yes."]),
        ("the flow is laminar . the layer is thin .", ["the flow is laminar .", "the layer is thin ."]),
        ("Wait... what? yes.", ["Wait... what? yes."]),
        ("今日は晴れ。明日は雨\uff01本当\uff1fはい。", ["今日は晴れ。", "明日は雨\uff01", "本当\uff1f", "はい。"]),
        ("Intro:\n- first item\n- second\n\nEnd", ["Intro:", "- first item", "- second", "End"]),
        ("# Head\nbody is\nwrapped. next", ["# Head\nbody is\nwrapped. next"]),
        ("x = a.b.c(1.0)\n>>> f()\n1", ["x = a.b.c(1.0)", ">>> f()\n1"]),
        ("A title without a stop\n\nThen text.", ["A title without a stop", "Then text."]),
        (" \n\t ", []),
    ],
)
def test_ends(text: str, expected: list[str]) -> None:
    assert _split(text) == expected


@given(st.text(alphabet=st.sampled_from(' \n.!?。ab.A\u3000)"-#1|')))
def test_spans_are_ordered_and_cover_all_that_is_not_blank(text: str) -> None:
    covered = [False] * len(text)
    last = 0
    for start, end in sentence_spans(text):
        assert last <= start < end
        assert text[start:end] == text[start:end].strip()
        covered[start:end] = [True] * (end - start)
        last = end
    assert all(yes or char.isspace() for yes, char in zip(covered, text, strict=True))


@pytest.mark.parametrize("unit", [". ", "\n", "a.", "!", "。", " ", '."', "- ", "\n\n a"])
def test_time_is_linear_in_repeated_marks(unit: str) -> None:
    start = time.monotonic()
    sentence_spans(unit * (300_000 // len(unit)))
    assert time.monotonic() - start < 3
