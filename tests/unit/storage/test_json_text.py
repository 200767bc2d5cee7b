"""JSON columns are written by a faster writer where that writes what `json` would."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from kaizen.storage.ledger.tables import JsonText

DIALECTS = [sqlite.dialect(), postgresql.dialect()]
VALUES = [
    {"score": 0.1, "large": 1e22, "small": 1e-7, "exact": 2**70, "none": None, "list": (1, True, 2.0)},
    {"text": "NaN and Infinity", "quotes": '"\\/', "control": "\x00\n\x1f", "": []},
    {"accents": "Größe", "symbols": "\u2028 \U0001f600", "half of one": "\ud800"},
    {1: "a number for a name"},
    "text",
    0.0,
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_what_is_written_is_read_and_is_plain_ascii(dialect: object, value: object) -> None:
    column = JsonText()
    text = column.process_bind_param(value, dialect)
    assert text is not None
    assert text.isascii()
    assert "\x00" not in text
    assert column.process_result_value(text, dialect) == json.loads(json.dumps(value))


def test_nothing_is_no_text() -> None:
    assert JsonText().process_bind_param(None, DIALECTS[0]) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_json_number_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        JsonText().process_bind_param({"shown": [{"score": number}]}, DIALECTS[0])
