"""The part of a long text that holds what was asked for."""

from __future__ import annotations

import pytest

from kaizen.answering.lexicon import Lexicon
from kaizen.answering.window import window

LEXICON = Lexicon()


def shown(text: str, asked: str, characters: int) -> str:
    start, end = window(text, frozenset(LEXICON.stems(asked)), LEXICON, characters)
    return text[start:end]


def test_it_lies_around_the_place_that_holds_most_of_the_words_and_cuts_none() -> None:
    text = "gulls nest " * 20 + "ferries wait " + "gulls nest " * 20 + "ferries stop in March " + "gulls nest " * 20
    part = shown(text, "When do ferries stop?", 60)
    assert "ferries stop in March" in part
    assert set(part.split()) <= set(text.split())
    assert 40 < len(part) <= 60


@pytest.mark.parametrize("place", ["first", "last"])
def test_at_an_end_it_uses_its_length(place: str) -> None:
    filler = "gulls nest " * 30
    text = f"lighthouse {filler}" if place == "first" else f"{filler}lighthouse"
    assert "lighthouse" in shown(text, "lighthouse", 50)
    assert len(shown(text, "lighthouse", 50)) > 35


def test_without_the_words_it_is_the_beginning_and_without_blanks_it_is_cut_hard() -> None:
    assert shown("gulls nest " * 30, "lighthouse", 25) == "gulls nest gulls nest"
    assert shown("x" * 90, "lighthouse", 25) == "x" * 25
    sea, tower = "\u6d77" * 90, "\u706f\u5854\u9ad8"
    assert shown(f"{sea}\uff0c{tower}\uff0c{sea}", tower[:2], 9)[3:6] == tower
    assert shown("", "lighthouse", 25) == ""
