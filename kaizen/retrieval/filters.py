"""The filter language, and its evaluation as one boolean mask over the rows of a segment.

    {"field": "lang", "equals": "en"}                       {"and": [..., ...]}
    {"field": "kind", "in": ["manual", "guide"]}            {"or": [..., ...]}
    {"field": "year", "range": {"gte": 2019, "lt": 2022}}   {"not": {...}}

On a field of type `strings` equals and in mean "holds". A row without a value for the field matches no test of
it, and so does match the `not` of one.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from kaizen.body import Body
from kaizen.errors import InvalidInput, UnknownField
from kaizen.records import FieldType
from kaizen.retrieval.columns import Column, Mask

MAX_DEPTH = 8
MAX_NODES = 64
MAX_VALUES = 1000  # of one test
MAX_VALUES_TOGETHER = 4000  # each is also sought as metadata would hold it, before anything else can be done
MAX_EXACT_INTEGER = 2**53
"""Numbers are compared as float64, which tells integers apart up to here."""
MOST_NAMED = 20  # fields that a refusal lists
MOST_COMPARED = 100  # names that an unknown one is compared with
MOST_COMPARING = 100_000  # products of lengths: what a comparison costs at worst grows with them


def _exact(value: object) -> object:
    if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        raise ValueError("an integer beyond 2**53 cannot be compared exactly; keep such ids as strings")
    return value


Value = Annotated[StrictBool | StrictInt | StrictFloat | StrictStr, BeforeValidator(_exact)]
Ordered = Annotated[StrictInt | StrictFloat | StrictStr, BeforeValidator(_exact)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Bounds(Body):
    """An interval of numbers or of strings (by code point, so ISO dates work); at least one end."""

    gt: Ordered | None = None
    gte: Ordered | None = None
    lt: Ordered | None = None
    lte: Ordered | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Bounds:
        if not self.values:
            raise ValueError("a range needs at least one of gt, gte, lt, lte")
        if len({isinstance(value, str) for value in self.values}) > 1:
            raise ValueError("the ends of a range must be all numbers or all strings")
        return self

    @property
    def values(self) -> tuple[Ordered, ...]:
        """The ends that are given."""
        return tuple(end for end in (self.gt, self.gte, self.lt, self.lte) if end is not None)


class Equals(Body):
    """The field has this value (or holds it)."""

    field: Name
    equals: Value


class In(Body):
    """The field has (or holds) one of these values."""

    field: Name
    values: tuple[Value, ...] = Field(alias="in", min_length=1, max_length=MAX_VALUES, fail_fast=True)


class Range(Body):
    """The field's value lies in the interval."""

    field: Name
    range: Bounds


class And(Body):
    """All of them match."""

    parts: tuple[Filter, ...] = Field(alias="and", min_length=1, fail_fast=True)


class Or(Body):
    """At least one of them matches."""

    parts: tuple[Filter, ...] = Field(alias="or", min_length=1, fail_fast=True)


class Not(Body):
    """It does not match."""

    part: Filter = Field(alias="not")


_KINDS: dict[type[Body], str] = {Equals: "equals", In: "in", Range: "range", And: "and", Or: "or", Not: "not"}


def _kind(value: object) -> str | None:
    if isinstance(value, Mapping):
        return next((kind for kind in _KINDS.values() if kind in value), None)
    return _KINDS.get(type(value))  # type: ignore[arg-type]


Filter = Annotated[
    Annotated[Equals, Tag("equals")]
    | Annotated[In, Tag("in")]
    | Annotated[Range, Tag("range")]
    | Annotated[And, Tag("and")]
    | Annotated[Or, Tag("or")]
    | Annotated[Not, Tag("not")],
    Discriminator(
        _kind,
        custom_error_type="filter",
        custom_error_message="a filter is an object with one of: equals, in, range (each with field), and, or, not",
    ),
]


And.model_rebuild()
Or.model_rebuild()
Not.model_rebuild()


def _within_limits(value: object) -> object:
    """Refuse a filter that is too deep or too large before it is parsed, without recursion."""
    nodes, values, waiting = 0, 0, [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"a filter may be {MAX_DEPTH} levels deep")
        if nodes > MAX_NODES:
            raise ValueError(f"a filter may have {MAX_NODES} parts")
        values += _raw_values(node)
        if values > MAX_VALUES_TOGETHER:
            raise ValueError(f"a filter may have {MAX_VALUES_TOGETHER} values")
        waiting.extend((child, depth + 1) for child in _raw_children(node))
    return value


def _raw_values(node: object) -> int:
    values = node.get("in") if isinstance(node, Mapping) else node.values if isinstance(node, In) else ()
    return len(values) if isinstance(values, list | tuple) else 0


def _raw_children(node: object) -> Iterator[object]:
    if isinstance(node, Mapping):
        for key in ("and", "or"):
            children = node.get(key)
            yield from children if isinstance(children, list | tuple) else ()
        if "not" in node:
            yield node["not"]
    elif isinstance(node, And | Or | Not):
        yield from _children(node)


FilterExpression = Annotated[Filter, BeforeValidator(_within_limits)]
"""The type for an API field: a `Filter` within the limits of depth and size."""

_ADAPTER: TypeAdapter[Any] = TypeAdapter(FilterExpression)


def parse(value: object) -> Filter:
    """Return the filter that `value` (decoded JSON) describes; raise InvalidInput when it describes none."""
    try:
        node: Filter = _ADAPTER.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"The filter cannot be read{f' at {place}' if place else ''}: {first['msg']}.",
            advice='Send for example {"field": "lang", "equals": "en"}; the README lists the language.',
        ) from error
    return node


def fields(node: Filter) -> set[str]:
    """Return the names of the fields that the filter tests."""
    return {part.field for part in _tests(node)}


def check(node: Filter, schema: Mapping[str, FieldType]) -> None:
    """Raise UnknownField for a field that is not in `schema`, InvalidInput for a test that its type has not."""
    for test in _tests(node):
        kind = schema.get(test.field)
        if kind is None:
            raise _unknown(test.field, schema)
        if isinstance(test, Range) and kind not in ("number", "string"):
            raise _mismatch(test.field, kind, "a range needs a number or string field")
        if not all(_fits(value, kind) for value in _values(test)):
            raise _mismatch(test.field, kind, f"a test of it needs {_NEEDS[kind]}")


def respelt(node: Filter, spell: Callable[[str], str]) -> Filter:
    """The filter that finds each value as it was sent, which is how ids are held, and as `spell` writes it."""
    match node:
        case And():
            return And.model_construct(parts=tuple(respelt(part, spell) for part in node.parts))
        case Or():
            return Or.model_construct(parts=tuple(respelt(part, spell) for part in node.parts))
        case Not():
            return Not.model_construct(part=respelt(node.part, spell))
        case Range():
            return node
    sent = _values(node)
    spelt = tuple(spell(value) for value in sent if isinstance(value, str))
    if set(spelt) <= set(sent):
        return node
    return In.model_construct(field=node.field, values=tuple(dict.fromkeys((*sent, *spelt))))


def mask(node: Filter, columns: Mapping[str, Column], rows: int) -> Mask:
    """Return which rows match, (rows,) bool; a field that is not in `columns` has no value in any row."""
    match node:
        case And():
            return reduce(np.logical_and, (mask(part, columns, rows) for part in node.parts))
        case Or():
            return reduce(np.logical_or, (mask(part, columns, rows) for part in node.parts))
        case Not():
            return ~mask(node.part, columns, rows)
    column = columns.get(node.field)
    if column is None:
        return np.zeros(rows, np.bool_)
    match node:
        case Equals():
            return column.matches((node.equals,))
        case In():
            return column.matches(node.values)
        case Range(range=ends):
            return column.between(gt=ends.gt, gte=ends.gte, lt=ends.lt, lte=ends.lte)


_NEEDS = {"string": "strings", "strings": "strings", "number": "numbers", "boolean": "true or false"}


def _fits(value: object, kind: FieldType) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, str)


def _values(test: Equals | In | Range) -> tuple[Value, ...]:
    match test:
        case Equals():
            return (test.equals,)
        case In():
            return test.values
        case Range():
            return test.range.values


def _children(node: And | Or | Not) -> tuple[Filter, ...]:
    return (node.part,) if isinstance(node, Not) else node.parts


def _tests(node: Filter) -> Iterator[Equals | In | Range]:
    if isinstance(node, And | Or | Not):
        for child in _children(node):
            yield from _tests(child)
    else:
        yield node


def _unknown(name: str, schema: Mapping[str, FieldType]) -> UnknownField:
    near = difflib.get_close_matches(name, _likely(name, schema), n=1)
    advice = f"Did you mean '{near[0]}'? " if near else ""
    known = ", ".join(sorted(schema)[:MOST_NAMED]) or "none"
    rest = f" and {len(schema) - MOST_NAMED} more" if len(schema) > MOST_NAMED else ""
    return UnknownField(f"There is no field '{name}' to filter on.", advice=f"{advice}The fields are: {known}{rest}.")


def _likely(name: str, known: Iterable[str]) -> list[str]:
    """Those most alike in length and letters, which is soon seen; of long ones fewer."""
    letters = set(name)
    most = min(MOST_COMPARED, MOST_COMPARING // len(name) ** 2)
    return heapq.nsmallest(most, known, key=lambda other: abs(len(other) - len(name)) + len(letters ^ set(other)))


def _mismatch(name: str, kind: FieldType, need: str) -> InvalidInput:
    return InvalidInput(f"The field '{name}' is of type {kind}.", advice=f"Change the filter: {need}.")
