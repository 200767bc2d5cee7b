"""Typed metadata columns of a segment, laid out so that a test of a field is a few array operations."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kaizen.errors import Corrupt
from kaizen.records import FieldType, MetadataValue, Principal

Mask = npt.NDArray[np.bool_]

ARROW_TYPES: dict[FieldType, pa.DataType] = {
    "string": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "strings": pa.list_(pa.string()),
}
"""How a field of each type is stored in a segment's chunk table."""


def field_type(value: MetadataValue) -> FieldType:
    """Return the type of the field that holds `value`."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "strings"


def to_arrow(values: Sequence[MetadataValue | None], kind: FieldType) -> pa.Array:
    """Return `values` as a field of type `kind`; None and a value of another type count as missing."""
    kept = [value if value is not None and field_type(value) == kind else None for value in values]
    if kind == "number":
        kept = [None if value is None else float(cast(float, value)) for value in kept]
    return pa.array(kept, ARROW_TYPES[kind])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """One field of the rows of a segment.

    Attributes:
        kind: the field's type.
        size: rows of the segment.
        dictionary: string, strings: the distinct values, sorted (object array); else empty.
        values: string, strings: (entries,) int32 codes into the dictionary; number: (entries,) float64;
            boolean: (entries,) bool. Missing values have no entry.
        owners: (entries,) int32: the row of each entry; None when every row has exactly one, in order.
    """

    kind: FieldType
    size: int
    dictionary: npt.NDArray[np.object_]
    values: npt.NDArray[Any]
    owners: npt.NDArray[np.int32] | None

    @classmethod
    def from_arrow(cls, array: pa.Array | pa.ChunkedArray) -> Column:
        """Make a column of an Arrow one; its type gives the field's type; raise Corrupt when it is none of ours."""
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        kind = _kind(array.type)
        if kind == "strings":
            owners = pc.list_parent_indices(array).to_numpy(zero_copy_only=False).astype(np.int32)
            flat = array.flatten()
        else:
            owners = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False)).astype(np.int32)
            flat = array.drop_null()
        dictionary, entries = _encode(flat) if kind in ("string", "strings") else (_NONE, flat.to_numpy(False))
        whole = kind != "strings" and len(owners) == len(array)
        return cls(kind=kind, size=len(array), dictionary=dictionary, values=entries, owners=None if whole else owners)

    def matches(self, wanted: Sequence[str | float | bool]) -> Mask:
        """Return the rows whose value is (or for strings: holds) one of `wanted`, (rows,) bool."""
        if self.kind in ("string", "strings"):
            hit = np.zeros(len(self.dictionary), np.bool_)
            hit[[code for value in wanted if (code := self._code(cast(str, value))) is not None]] = True
            return self._rows(hit.take(self.values))
        return self._rows(np.isin(self.values, np.array(wanted, self.values.dtype)))

    def between(
        self,
        *,
        gt: str | float | None = None,
        gte: str | float | None = None,
        lt: str | float | None = None,
        lte: str | float | None = None,
    ) -> Mask:
        """Return the rows whose value lies within all the ends that are given; only for number and string."""
        if self.kind == "string":
            low = max(self._below(gte, bisect_left, 0), self._below(gt, bisect_right, 0))
            high = min(self._below(lt, bisect_left, self.size), self._below(lte, bisect_right, self.size))
            return self._rows((self.values >= low) & (self.values < high))
        ends: list[tuple[Callable[..., Any], str | float | None]]
        ends = [(np.greater, gt), (np.greater_equal, gte), (np.less, lt), (np.less_equal, lte)]
        inside = np.ones(len(self.values), np.bool_)
        for compare, end in ends:
            if end is not None:
                inside &= compare(self.values, end)
        return self._rows(inside)

    def _code(self, value: str) -> int | None:
        place = self._below(value, bisect_left, 0)
        return place if place < len(self.dictionary) and self.dictionary[place] == value else None

    def _below(self, end: object, bisect: Callable[[Any, Any], int], absent: int) -> int:
        """Return how many names of the dictionary lie below `end`; `absent` when there is no such end."""
        return absent if end is None else bisect(self.dictionary, end)

    def _rows(self, hit: Mask) -> Mask:
        """Turn a mask over entries into one over rows."""
        if self.owners is None:
            return hit
        rows = np.zeros(self.size, np.bool_)
        rows[self.owners.compress(hit)] = True
        return rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visibility:
    """Whose each row is and which groups may see it: the filter that nobody can leave out.

    Attributes:
        tenant: string column without missing values.
        groups: strings column; a row with none is for everybody of its tenant.
    """

    tenant: Column
    groups: Column

    def mask(self, principal: Principal) -> Mask:
        """Return the rows that the principal may see, (rows,) bool."""
        own = self.tenant.matches((principal.tenant,))
        if not len(self.groups.values):
            return own
        open_to_all = np.ones(self.groups.size, np.bool_)
        open_to_all[self.groups.owners] = False
        return own & (open_to_all | self.groups.matches(principal.groups))


_NONE: npt.NDArray[np.object_] = np.empty(0, object)


def _kind(arrow: pa.DataType) -> FieldType:
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return "strings"
    if pa.types.is_boolean(arrow):
        return "boolean"
    if pa.types.is_floating(arrow):
        return "number"
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_dictionary(arrow):
        return "string"
    raise Corrupt(f"A metadata column has the type {arrow}.", advice="Rebuild the segment from the ledger.")


def _encode(flat: pa.Array) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int32]]:
    """Return the sorted distinct values and each entry's place among them."""
    encoded = flat if pa.types.is_dictionary(flat.type) else flat.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()  # by bytes of UTF-8, which is the order of str
    names = np.array(encoded.dictionary.take(order).to_pylist(), object)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return names, rank[encoded.indices.to_numpy(zero_copy_only=False)]
