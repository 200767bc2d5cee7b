"""CSV as rows: streamed, typed by whole columns, one bad record at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import BinaryIO

from kaizen.errors import BadDocument
from kaizen.text.access_list import is_access_list
from kaizen.text.records_csv import records
from kaizen.text.rows import OWN_FIELDS, TEXT_FIELDS, Row

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,3})?")  # no leading zeros: codes stay text
_BOOLEANS = {"true": True, "false": False}


class CsvRows:
    """The rows of one file; `number` and `place` are those of the row that was yielded last.

    The file is read twice: a column is of numbers or booleans only if each of its cells that is not empty is one.
    Types that were guessed from the first lines would turn on a later one.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._number = self._line = 0

    def __iter__(self) -> Iterator[Row | BadDocument]:
        columns = self._columns()
        found = records(self._file, self._max_bytes)
        next(found)  # the header
        for number, record in enumerate(found, start=1):
            self._number, self._line = number, record.line
            yield record.cells if isinstance(record.cells, BadDocument) else columns.row(record.cells)

    def number(self) -> int:
        """Return the number of the record, from 1, the header not counted."""
        return self._number

    def place(self) -> str:
        """Say where in the file the row is."""
        return f"line {self._line}"

    def _columns(self) -> _Columns:
        found = records(self._file, self._max_bytes)
        header = next(found, None)
        if header is None or isinstance(header.cells, BadDocument):
            raise BadDocument("Its first line is not a header.", advice="Name the columns there, in UTF-8.")
        columns = _Columns(header.cells)
        for record in found:
            if not isinstance(record.cells, BadDocument):
                columns.learn(record.cells)
        return columns


class _Columns:
    """The names of the columns, and which of them hold numbers or booleans."""

    def __init__(self, header: list[str]) -> None:
        self._names = [name.strip() for name in header]
        if len(set(self._names)) < len(self._names) or not all(self._names):
            raise BadDocument("Two columns have one name, or one has none.", advice="Name each column once.")
        if not set(self._names) & {*TEXT_FIELDS, "title"}:
            raise BadDocument("No column holds the text.", advice=f"Name one of: {', '.join(TEXT_FIELDS)}.")
        self._access = frozenset(filter(is_access_list, self._names))
        self._kinds = {name: {"number", "boolean"} for name in self._names if name not in OWN_FIELDS | self._access}

    def learn(self, cells: list[str]) -> None:
        """Take the types of one record into account."""
        if len(cells) != len(self._names):
            return
        for name, cell in zip(self._names, cells, strict=True):
            kinds = self._kinds.get(name)
            if kinds and cell.strip():
                kinds &= _kinds(cell.strip())

    def row(self, cells: list[str]) -> Row | BadDocument:
        """Return one record as a row."""
        if len(cells) != len(self._names):
            return BadDocument(f"It has {len(cells)} fields, the header {len(self._names)}.", advice="Mend the quotes.")
        return {name: self._typed(name, cell) for name, cell in zip(self._names, cells, strict=True)}

    def _typed(self, name: str, cell: str) -> object:
        bare = cell.strip()
        if name in self._access:
            return [group.strip() for group in re.split("[,;|]", bare) if group.strip()]
        kinds = self._kinds.get(name, set()) & _kinds(bare)
        if "boolean" in kinds:
            return _BOOLEANS[bare.lower()]
        return _number(bare) if "number" in kinds else bare


def _kinds(cell: str) -> set[str]:
    if cell.lower() in _BOOLEANS:
        return {"boolean"}
    return {"number"} if _NUMBER.fullmatch(cell) and math.isfinite(float(cell)) else set()


def _number(cell: str) -> int | float:
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)
