"""Which fields name an access list: those that are read as one, and those whose authors meant one all the same.

Who names an access list means somebody to be left out. One under a name that is not read would be metadata, and the
document everybody's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from kaizen.text.metadata import MAX_NAME_CHARS
from kaizen.text.normalise import normalise

GROUP_FIELDS = ("groups", "access")
# Expressions of what hardly ever means anything else.
NEARLY_GROUP_FIELDS = r"acl|access[-_ ]?(?:groups?|list)|allowed[-_ ]?groups?"
_SEEMS = re.compile(rf"\W*({'|'.join(GROUP_FIELDS)}|group|{NEARLY_GROUP_FIELDS})\W*", re.IGNORECASE)
_NOBODY: tuple[object, ...] = (None, "", [], {})


def is_access_list(name: str) -> bool:
    """Whether the field `name` of a row is read as an access list: whatever its case, with blanks around it or not."""
    return name.strip().lower() in GROUP_FIELDS


def unread_access_list(fields: Mapping[str, object]) -> str:
    """Return the name of the first of `fields` that seems to be an access list; empty if none does.

    One that is empty leaves nobody out. A `group` is taken for one with a list only: with one value it is mostly that
    of a product or a menu.
    """
    for name, value in fields.items():
        seems = _SEEMS.fullmatch(unicodedata.normalize("NFKC", normalise(name[: MAX_NAME_CHARS + 1])))
        named = (value.strip() if isinstance(value, str) else value) not in _NOBODY
        if seems and named and (seems[1].lower() != "group" or isinstance(value, list | tuple)):
            return seems[1]
    return ""
