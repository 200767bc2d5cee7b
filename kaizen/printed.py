"""What a command of ours has printed, read by who started it: with --json, its last line is an object."""

from __future__ import annotations

import json
from typing import Any


def last_object(printed: str) -> dict[str, Any] | None:
    """The JSON object on the last line; None where there is none."""
    lines = printed.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def error_of(printed: str) -> dict[str, str] | None:
    """The `code`, `message` and `advice` that it ended with on standard error; None where it ended otherwise."""
    error = (last_object(printed) or {}).get("error")
    return error if isinstance(error, dict) else None


def words_on(error: dict[str, str]) -> str:
    """What happened and what to do about it."""
    return f"{error['message']} {error['advice']}".strip()


def in_words(printed: str) -> str:
    """All of it, with such an error in words."""
    error = error_of(printed)
    if error is None:
        return printed.strip()
    before = printed.strip().splitlines()[:-1]
    return "\n".join([*before, words_on(error)])
