"""Which fields name an access list: those that are read as one, and those whose authors meant one all the same.

Who names an access list means somebody to be left out. One under a name that is not read would be metadata, and the
document everybody's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from kaizen.text.metadata import MAX_NAME_CHARS
from kaizen.text.normalise import normalise

GROUP_FIELDS = ("groups", "access")
# Expressions of what hardly ever means anything else.
NEARLY_GROUP_FIELDS = r"acls?|access(?: |[-_.]*)(?:groups?|lists?)|allowed(?: |[-_.]*)groups?"
_SEEMS = re.compile(rf"(?:{'|'.join(GROUP_FIELDS)}|{NEARLY_GROUP_FIELDS})\d{{0,3}}", re.IGNORECASE)  # groups.0
_NO_LETTERS = re.compile(r"[\W_]+")
_HOLDERS = (dict, list, tuple)
_NOBODY: tuple[object, ...] = (None, "", [], {})


def is_access_list(name: str) -> bool:
    """Whether the field `name` of a row is read as an access list: whatever its case, with blanks around it or not."""
    return name.strip().lower() in GROUP_FIELDS


def seems_access_list(name: str) -> bool:
    """Whether `name` hardly means anything but an access list: any of the names above, however it is spelled."""
    return _SEEMS.fullmatch(_letters(name)) is not None


def unread_access_list(fields: Mapping[str, object]) -> str:
    """Return the name of the first of `fields` that seems to be an access list, however deep; empty if none does.

    One that is empty leaves nobody out. A `group` is taken for one with a list only, and where it is not nested: else
    it is mostly that of a product or a menu.
    """
    for name, value in fields.items():
        if isinstance(value, list | tuple) and value and _letters(name).lower() == "group":
            return _readable(name)
    named = (name for name, value in _all(fields) if seems_access_list(name) and not _leaves_nobody_out(value))
    return _readable(next(named, ""))


def _all(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the names and values of `fields`, then those within; with a stack, which no depth overflows."""
    unseen: list[Any] = [fields]
    while unseen:
        held = unseen.pop()
        values = held
        if isinstance(held, Mapping):
            yield from held.items()
            values = held.values()
        unseen += [value for value in values if isinstance(value, _HOLDERS)]


def _leaves_nobody_out(value: object) -> bool:
    return (value.strip() if isinstance(value, str) else value) in _NOBODY


def _letters(name: str) -> str:
    return _NO_LETTERS.sub("", _readable(name))


def _readable(name: str) -> str:
    return unicodedata.normalize("NFKC", normalise(name[: MAX_NAME_CHARS + 1]))
