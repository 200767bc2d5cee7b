"""What may stand in a document's metadata: values that the index can filter on, each of one type."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kaizen.errors import InvalidInput
from kaizen.records import MetadataValue
from kaizen.text.normalise import one_line

MAX_FIELDS = 64
MAX_VALUE_CHARS = 1024
MAX_NAME_CHARS = 128  # of a field or a group
MAX_NUMBER = 2**63 - 1


def typed_metadata(fields: Mapping[str, object]) -> dict[str, MetadataValue]:
    """Return `fields` as metadata: strings, finite numbers, booleans, lists of strings. Nulls are left out.

    Raises:
        InvalidInput: a name or a value that cannot be filtered on; the message names the field, not its value.
    """
    metadata = {}
    for name, value in fields.items():
        if value is not None:
            metadata[field_name(name)] = _typed(name, value)
    if len(metadata) > MAX_FIELDS:
        raise InvalidInput(f"It has {len(metadata)} metadata fields.", advice=f"Send at most {MAX_FIELDS}.")
    return metadata


def field_name(name: object) -> str:
    """Return `name` if it can name a metadata field (1 to 128 printable characters), else raise InvalidInput."""
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= MAX_NAME_CHARS
        or not name.isprintable()
        or name != name.strip()
    ):
        raise InvalidInput(
            "A metadata field has an unusable name.", advice=f"Use 1 to {MAX_NAME_CHARS} printable characters."
        )
    return name


def access_groups(value: object) -> tuple[str, ...]:
    """Return the groups of an access list: a list of names, or one name.

    Raises:
        InvalidInput: anything else. An access list that is not understood must never mean "everybody".
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InvalidInput("Its access list is not a list of group names.", advice='Send it as ["group", ...].')
    if any(not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARS for name in names):
        raise InvalidInput(
            "Its access list has an unusable group name.", advice=f"Use 1 to {MAX_NAME_CHARS} printable characters."
        )
    return tuple(sorted({name.strip() for name in names}))


def _typed(name: str, value: object) -> MetadataValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _finite(name, value)
    if isinstance(value, str):
        return _string(name, value)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(_string(name, item) for item in value)
    raise InvalidInput(
        f"The metadata field {name!r} is neither a string, a number, a boolean nor a list of strings.",
        advice="Flatten it, or leave it out.",
    )


def _finite(name: str, value: int | float) -> int | float:
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > MAX_NUMBER:
        raise InvalidInput(f"The metadata field {name!r} is not a number of 64 bits.", advice="Send it as a string.")
    return value


def _string(name: str, value: str) -> str:
    if len(value) > MAX_VALUE_CHARS:
        raise InvalidInput(
            f"The metadata field {name!r} is over {MAX_VALUE_CHARS} characters.", advice="Put long text into `text`."
        )
    return one_line(value, MAX_VALUE_CHARS)
