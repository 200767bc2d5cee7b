"""What a command printed, read by the process that started it."""

from __future__ import annotations

import json

import pytest

from kaizen.printed import error_of, in_words, last_object

ERROR = {"code": "not-found", "message": "There is nothing.", "advice": "Make some."}
TOLD = json.dumps({"error": ERROR})


@pytest.mark.parametrize(
    ("printed", "found"),
    [("", None), ("words", None), ("[1]\n", None), ('words\n{"a": 1}\n', {"a": 1}), ('{"a": 1}\nwords', None)],
)
def test_the_object_on_the_last_line(printed: str, found: object) -> None:
    assert last_object(printed) == found


def test_an_error_is_told_in_words_with_what_came_before() -> None:
    assert error_of(f"before\n{TOLD}\n") == ERROR
    assert in_words(f"before\n{TOLD}\n") == "before\nThere is nothing. Make some."
    assert (error_of('{"error": 1}'), in_words("KeyError: 'x'\n")) == (None, "KeyError: 'x'")
