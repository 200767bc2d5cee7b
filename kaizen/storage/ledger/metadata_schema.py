"""The types of metadata fields: per tenant, the first value of a field fixes its type for good.

So a name is never given back, and names are bounded: one that is made from what varies (an id, a date) would be another
field with each document, and every filter is checked against all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from kaizen.errors import InvalidInput
from kaizen.records import FieldType
from kaizen.storage.ledger.statements import parts
from kaizen.storage.ledger.tables import metadata_fields

MAX_FIELDS = 1000  # of a tenant; what Elasticsearch allows an index unless told otherwise


def field_type(name: str, value: object) -> FieldType:
    """Return the type that `value` gives its field.

    Raises:
        InvalidInput: the value is of no type that metadata can have, or is not finite.
    """
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise InvalidInput(f"Metadata field {name!r} is not a finite number.", advice="Leave the field out.")
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return "strings"
    raise InvalidInput(
        f"Metadata field {name!r} has a value of type {type(value).__name__}.",
        advice="Use a string, a number, a boolean or a list of strings.",
    )


def field_types(metadata: Mapping[str, object]) -> dict[str, FieldType]:
    """Return the type of every field of one document's metadata."""
    return {name: field_type(name, value) for name, value in metadata.items()}


def check_room(known: int, new: Collection[str]) -> None:
    """Raise InvalidInput when `new` field names, beside `known` others, are more than a tenant may have."""
    if new and known + len(new) > MAX_FIELDS:
        raise InvalidInput(
            f"With new metadata fields (such as {min(new)!r}) there would be {known + len(new)}.",
            advice=f"All documents together may have {MAX_FIELDS}: use names that are there, and put what varies into "
            "values.",
        )


def register(connection: sa.Connection, tenant: str, fields: Mapping[str, FieldType]) -> None:
    """Fix the types of fields never seen before, within the caller's write transaction.

    Raises:
        InvalidInput: a field already has another type, and the message names the field, its type, and what came; or
            there would be more than MAX_FIELDS.
    """
    known = _known(connection, tenant, list(fields))
    for name, kind in fields.items():
        if known.get(name, kind) != kind:
            raise InvalidInput(
                f"Metadata field {name!r} is of type {known[name]}, but a value of type {kind} came.",
                advice="Send the type that the field has, or use another field name.",
            )
    new = [{"tenant": tenant, "name": n, "type": k} for n, k in fields.items() if n not in known]
    if new:
        check_room(_count(connection, tenant), [row["name"] for row in new])
        connection.execute(sa.insert(metadata_fields), new)


def read(connection: sa.Connection, tenant: str) -> dict[str, FieldType]:
    """Return the types of all fields of a tenant."""
    found = connection.execute(_types(tenant).order_by(metadata_fields.c.name))
    return dict(found.all())


def _known(connection: sa.Connection, tenant: str, names: list[str]) -> dict[str, FieldType]:
    known: dict[str, FieldType] = {}
    for part in parts(names):
        known.update(connection.execute(_types(tenant).where(metadata_fields.c.name.in_(part))).all())
    return known


def _count(connection: sa.Connection, tenant: str) -> int:
    query = sa.select(sa.func.count()).select_from(metadata_fields).where(metadata_fields.c.tenant == tenant)
    return connection.scalar(query) or 0


def _types(tenant: str) -> sa.Select[Any]:
    return sa.select(metadata_fields.c.name, metadata_fields.c.type).where(metadata_fields.c.tenant == tenant)
