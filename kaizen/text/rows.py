"""One row of many (a JSON object, a CSV record, a Parquet row) as a document."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from kaizen.errors import BadDocument
from kaizen.records import Document
from kaizen.text.access_list import GROUP_FIELDS, is_access_list, unread_access_list
from kaizen.text.document import make_document
from kaizen.text.metadata import MAX_VALUE_CHARS, access_groups

ID_FIELDS = ("_id", "id", "document_id")
TEXT_FIELDS = ("text", "content", "body")
OWN_FIELDS = frozenset({*ID_FIELDS, *TEXT_FIELDS, *GROUP_FIELDS, "title", "metadata"})

Row = Mapping[str, object]


def document_from_row(
    row: Row, *, default_id: Callable[[], str], tenant: str, groups: tuple[str, ...], source: str
) -> Document:
    """Return the document that `row` describes.

    The id is the first of `_id`, `id`, `document_id` that is set, else what `default_id` returns; the text is the
    first of `text`, `content`, `body` that is not blank, else the title. The access list in `groups` (or `access`,
    in capitals or with blanks around it, too) replaces the `groups` given here; one that is absent, null or empty does
    not. Metadata is the object in `metadata`; without one it is all the remaining fields that are scalars of at most
    1024 characters.

    Raises:
        InvalidInput, BadDocument: the row cannot be a document, or has what seems to be an access list and is not read
            as one; the message names fields, never their values.
    """
    metadata = _metadata(row)
    return make_document(
        tenant=tenant,
        id=_id(row) or default_id(),
        title=_title(row),
        text=_text(row),
        metadata=metadata,
        groups=_groups(row, metadata) or groups,
        source=source,
    )


def _id(row: Row) -> str:
    for name in ID_FIELDS:
        value = row.get(name)
        if isinstance(value, bool | float) or not isinstance(value, str | int | None):
            raise BadDocument(f"Its {name!r} is neither a string nor a whole number.", advice="Send ids as strings.")
        if value is not None and value != "":
            return str(value)
    return ""


def _text(row: Row) -> str:
    for name in TEXT_FIELDS:
        value = row.get(name)
        if not isinstance(value, str | None):
            raise BadDocument(f"Its {name!r} is not a string.", advice="Send the text as one string.")
        if value and not value.isspace():
            return value
    return ""


def _title(row: Row) -> str:
    value = row.get("title")
    if not isinstance(value, str | int | float | None):
        raise BadDocument("Its 'title' is not a string.", advice="Send the title as one string.")
    return "" if value is None else str(value)


def _groups(row: Row, metadata: Mapping[str, object]) -> tuple[str, ...]:
    given = [value for name, value in row.items() if is_access_list(name) and value is not None and value != ""]
    if not given:
        _refuse_unread("field", {name: value for name, value in row.items() if value is not metadata})
        _refuse_unread("metadata field", metadata)
    named = [groups for groups in map(access_groups, given) if groups]
    if len(named) > 1:
        raise BadDocument("It has two access lists.", advice="Send one, as `groups`.")
    return named[0] if named else ()


def _refuse_unread(kind: str, fields: Mapping[str, object]) -> None:
    if name := unread_access_list(fields):
        raise BadDocument(
            f"Its {kind} {name!r} is not read as an access list.",
            advice='Write it as `groups`: ["hr", "legal"], beside the text. Where it is none, write `groups`: [] there '
            "(in CSV an empty column), or name it otherwise.",
        )


def _metadata(row: Row) -> Mapping[str, object]:
    given = row.get("metadata")
    if isinstance(given, str) and given.lstrip().startswith("{"):  # a column of CSV or Parquet that holds JSON
        given = parse_json(given)
    if isinstance(given, Mapping):
        return given
    return {name: value for name, value in row.items() if _filterable(name, value)}


def _filterable(name: str, value: object) -> bool:
    if name in OWN_FIELDS or is_access_list(name) or value == "" or not isinstance(value, str | int | float | bool):
        return False
    return not isinstance(value, str) or len(value) <= MAX_VALUE_CHARS


def parse_json(text: str) -> object:
    """Return the value of a JSON text; NaN, Infinity and numbers beyond a float's range are refused.

    Raises:
        BadDocument: it is not JSON; the message gives the column and none of the content.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise BadDocument(f"It is not JSON: {error.msg} at column {error.pos + 1}.", advice="Mend the line.") from error
    except RecursionError as error:
        raise BadDocument("It is JSON nested too deeply.", advice="Flatten it.") from error
    except ValueError as error:  # whole numbers of more than 4300 digits
        raise BadDocument("It has a number that is too long.", advice="Send it as a string.") from error


def _refuse_constant(name: str) -> object:
    raise BadDocument(f"It has {name}, which JSON has not.", advice="Send null, or leave the field out.")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadDocument("It has a number beyond the range of a 64-bit float.", advice="Send it as a string.")
    return value
