"""CSV as rows: streamed, typed by whole columns, one bad record at a time."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from kaizen.errors import BadDocument
from kaizen.text.decode import refuse_utf16
from kaizen.text.rows import GROUP_FIELDS, OWN_FIELDS, TEXT_FIELDS, Row

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,3})?")  # no leading zeros: codes stay text
_BOOLEANS = {"true": True, "false": False}
_DELIMITERS = ",;\t|"
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


class _Record(NamedTuple):
    line: int  # the first of the file's lines that it takes, from 1
    cells: list[str] | BadDocument


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
        records = _records(self._file, self._max_bytes)
        next(records)  # the header
        for number, record in enumerate(records, start=1):
            self._number, self._line = number, record.line
            yield record.cells if isinstance(record.cells, BadDocument) else columns.row(record.cells)

    def number(self) -> int:
        """Return the number of the record, from 1, the header not counted."""
        return self._number

    def place(self) -> str:
        """Say where in the file the row is."""
        return f"line {self._line}"

    def _columns(self) -> _Columns:
        records = _records(self._file, self._max_bytes)
        header = next(records, None)
        if header is None or isinstance(header.cells, BadDocument):
            raise BadDocument("Its first line is not a header.", advice="Name the columns there, in UTF-8.")
        columns = _Columns(header.cells)
        for record in records:
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
        self._kinds = {name: {"number", "boolean"} for name in self._names if name not in OWN_FIELDS}

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
        if name in GROUP_FIELDS:
            return [group.strip() for group in re.split("[,;|]", bare) if group.strip()]
        kinds = self._kinds.get(name, set()) & _kinds(bare)
        if "boolean" in kinds:
            return _BOOLEANS[bare.lower()]
        return _number(bare) if "number" in kinds else bare


class _Feed:
    """Feeds lines to the csv module, which has no bound of its own on a record that never ends."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._held = 0
        self.line = 0

    def start_record(self) -> int:
        """Forget what was held; return the number of the next line."""
        self._held = 0
        return self.line + 1

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        data = self._file.readline(self._max_bytes + 1)
        if not data:
            raise StopIteration
        self.line += 1
        self._held += len(data)
        if self._held > self._max_bytes:
            while data and not data.endswith(b"\n"):
                data = self._file.readline(self._max_bytes + 1)
            raise BadDocument(
                f"It is over {self._max_bytes} bytes, or a quote in it is never closed.",
                advice="Mend the quotes, or raise ingest.max_document_bytes.",
            )
        # Bytes that are not UTF-8 become surrogates, which are found again once the record is whole.
        return data.decode("utf-8-sig" if self.line == 1 else "utf-8", "surrogateescape")


def _records(file: BinaryIO, max_bytes: int) -> Iterator[_Record]:
    """Yield the records of `file`, the header first. The delimiter is the header's commonest of , ; tab |."""
    # Process-wide in the csv module, and by default 131,072 characters: only ever raised, `_Feed` sets the bound.
    csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
    file.seek(0)
    header = file.readline(max_bytes)
    refuse_utf16(header)
    file.seek(0)
    feed = _Feed(file, max_bytes)
    reader = csv.reader(feed, delimiter=max(_DELIMITERS, key=header.decode("utf-8", "replace").count))
    while True:
        line = feed.start_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except BadDocument as error:
            yield _Record(line, error)
        except csv.Error as error:
            yield _Record(line, BadDocument(f"It is not CSV: {error}.", advice="Mend the quotes."))
        else:
            if cells:
                yield _Record(line, _checked(cells))


def _checked(cells: list[str]) -> list[str] | BadDocument:
    if any(map(_NOT_TEXT.search, cells)):
        return BadDocument("It is not UTF-8 text, or has a NUL.", advice="Convert the file to UTF-8.")
    return cells


def _kinds(cell: str) -> set[str]:
    if cell.lower() in _BOOLEANS:
        return {"boolean"}
    return {"number"} if _NUMBER.fullmatch(cell) and math.isfinite(float(cell)) else set()


def _number(cell: str) -> int | float:
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)
