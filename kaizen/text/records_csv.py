"""The records of a CSV file: streamed, of bounded size, and a stray quote costs its own record, not the file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from kaizen.errors import BadDocument
from kaizen.text.access_list import seems_access_list
from kaizen.text.decode import refuse_utf16

_DELIMITERS = ",;\t|"
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_MEND = "Mend the quotes."
_LONGEST_CODE = 64
_SPACE = re.compile(r"\s")
_WITH_DIGITS = re.compile(r"[^\W\d_]*\d[^\W_]*")
_WORD = re.compile(r"[^\W\d_]+")
_IN_NUMBER = re.compile(r"(?<!\w-)\b\d+,(?=\d)")  # 20,5 and 1,200; a code such as A-20 is none


class Record(NamedTuple):
    """What one record holds, or why it cannot be read."""

    line: int  # the first of the file's lines that it takes, from 1
    cells: list[str] | BadDocument


def records(file: BinaryIO, max_bytes: int) -> Iterator[Record]:
    """Yield the records of `file`, the header first. The delimiter is the header's commonest of , ; tab |.

    A record whose quotes do not end as they should costs itself: what it swallowed is read again, each line on its
    own, and from where it broke all goes on as before. So no line is read more than three times, whatever there is.
    So does one whose quotes are sound, but whose lines are records by all signs: see `_swallows`.

    Where a column names an access list, nothing of such a record is read again: its lines may be those of a cell, and
    one of them, taken for a record, would be everybody's.
    """
    # Process-wide in the csv module, and by default 131,072 characters: only ever raised, `_Lines` sets the bound.
    csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
    file.seek(0)
    header = file.readline(max_bytes)
    refuse_utf16(header)
    file.seek(0)
    lines = _Lines(file, max_bytes, header.decode("utf-8", "replace"))
    reader = csv.reader(lines, delimiter=lines.delimiter, strict=True)
    while True:
        lines.start_record()
        try:
            cells = next(reader)
            if lines.are_each_a_record() and _swallows(cells, lines):
                raise BadDocument(
                    f"A quote in it is closed only on line {lines.line}, among records.",
                    advice=f"{_MEND} Where they are right, write a blank behind each {lines.delimiter!r} within.",
                )
        except StopIteration:
            return
        except (BadDocument, csv.Error) as error:
            yield from _salvaged(lines, error)
        else:
            if cells:
                yield Record(lines.start, _checked(cells))


def _salvaged(lines: _Lines, error: BadDocument | csv.Error) -> Iterator[Record]:
    """Yield what a record that broke amounts to: itself, and the records that it swallowed."""
    if lines.line == lines.start:
        yield Record(lines.start, _alone(lines.first, lines.delimiter) if lines.first else _reason(error, ""))
        return
    if isinstance(error, csv.Error) and (tidied := _but_for_blanks(lines)):
        yield Record(lines.start, _checked(tidied))
        return
    up_to = f" up to line {lines.line}"
    if lines.restricted:
        yield Record(lines.start, _reason(error, up_to))
        return
    swallowed = lines.alike()
    yield Record(lines.start, _reason(error, "" if swallowed else up_to))
    for text in lines.again():
        cells = _alone(text, lines.delimiter) if swallowed else []
        if cells:
            yield Record(lines.start, cells)


def _swallows(cells: list[str], lines: _Lines) -> bool:
    """Whether a record of several lines, each with as many fields as the header, is records behind a stray quote.

    They are if one of the columns beside the cell with the line ends, such as the id, looks alike in all lines: prose
    begins no line with a number, or a code, and a comma, without a blank behind it: `80331, Munich`. Of words nothing
    can be told, nor of lines whose commas stand in numbers, as in `20,5 degrees`, so they are left a cell.
    """
    whole = [place for place, cell in enumerate(cells) if "\n" in cell]
    if len(whole) != 1:
        return False
    before, after = cells[: whole[0]], cells[whole[0] + 1 :]
    written = [line for line in lines.whole().split("\n") if line.strip()]
    if lines.delimiter == "," and _are_decimals(written[1:]):
        return False
    rows = [line.split(lines.delimiter) for line in written]
    if all(_blanks(row) - _blanks(rows[0]) for row in rows[1:]):
        return False
    own = [*zip(before, range(len(before)), strict=True), *zip(after, range(-len(after), 0), strict=True)]
    looks = [(_look(cell), column) for cell, column in own]
    return any("0" in look and all(_look(row[column]) == look for row in rows) for look, column in looks)


def _are_decimals(lines: list[str]) -> bool:
    """Whether in at least half of the lines each comma stands in a number."""
    decimals = sum(len(_IN_NUMBER.findall(line)) == line.count(",") for line in lines)
    return 2 * decimals >= len(lines)


def _blanks(row: list[str]) -> set[int]:
    """Behind which of the delimiters a blank is."""
    return {place for place, cell in enumerate(row[1:]) if cell.startswith(" ")}


def _look(cell: str) -> str:
    """What stays of a number or a code when digits and letters do not count; nothing of several words."""
    bare = cell.strip()
    return "" if len(bare) > _LONGEST_CODE or _SPACE.search(bare) else _WORD.sub("a", _WITH_DIGITS.sub("0", bare))


def _but_for_blanks(lines: _Lines) -> list[str]:
    """Return the cells of a record in which nothing is wrong but blanks behind closing quotes; else none."""
    text = re.sub(f'" +(?=[{lines.delimiter}\r\n]|$)', '"', lines.whole())
    try:
        (cells,) = csv.reader(io.StringIO(text, newline="\n"), delimiter=lines.delimiter, strict=True)
    except (csv.Error, ValueError):
        return []
    return cells if len(cells) == lines.columns else []


def _reason(error: BadDocument | csv.Error, where: str) -> BadDocument:
    return error if isinstance(error, BadDocument) else BadDocument(f"It is not CSV{where}: {error}.", advice=_MEND)


def _alone(line: str, delimiter: str) -> list[str] | BadDocument:
    """Return the cells of a line that is a record, or none, as spreadsheets read `"Big" sale`: as Big sale."""
    reader = csv.reader([line, ""], delimiter=delimiter)
    try:
        cells = next(reader)
    except csv.Error as error:
        return _reason(error, "")
    if reader.line_num > 1:
        return BadDocument("A quote in it is never closed.", advice=_MEND)
    return _checked(cells)


def _checked(cells: list[str]) -> list[str] | BadDocument:
    if any(map(_NOT_TEXT.search, cells)):
        return BadDocument("It is not UTF-8 text, or has a NUL.", advice="Convert the file to UTF-8.")
    return cells


def _text(data: bytes, line: int) -> str:
    """Bytes that are not UTF-8 become surrogates, which are found again once the record is whole."""
    return data.decode("utf-8-sig" if line == 1 else "utf-8", "surrogateescape")


class _Lines:
    """Feeds lines to the csv module, which has no bound of its own on a record that never ends.

    Attributes:
        start, first: the number and the text of the record's first line; no text if it is too long.
        line: the number of the line that was read last.
        columns: how many the header has.
        restricted: whether one of these names an access list, or seems to.
    """

    def __init__(self, file: BinaryIO, max_bytes: int, header: str) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.delimiter = max(_DELIMITERS, key=header.count)
        self._delimiters = header.count(self.delimiter)
        self.columns = self._delimiters + 1
        self.restricted = any(map(seems_access_list, header.split(self.delimiter)))
        self.line = self._offset = self._begun = self._second = 0
        self.start_record()

    def start_record(self) -> None:
        """Forget what was held."""
        self.start, self.first, self._begun = self.line + 1, "", self._offset
        self._held = self._alike = self._blank = 0
        self._ended = False

    def alike(self) -> bool:
        """Return whether at least half of the lines after the record's first, or all but blank ones, have as many
        fields as the header.

        They are records then, that a stray quote swallowed; else they are lines of a cell that is cut off or too long.
        """
        return self.are_each_a_record() or 2 * self._alike >= self.line - self.start

    def are_each_a_record(self) -> bool:
        """Return whether there are several lines, and each that is not blank has as many fields as the header."""
        after = self.line - self.start
        return 0 < after == self._alike + self._blank and self.first.count(self.delimiter) == self._delimiters

    def whole(self) -> str:
        """Return the text of all of the record's lines that were read, once more."""
        self._file.seek(self._begun)
        return _text(self._file.read(self._offset - self._begun), self.start)

    def again(self) -> Iterator[str]:
        """Go back, and yield the lines between the record's first and the one at which it broke."""
        end = self.line + self._ended
        self._file.seek(self._second)
        self.line, self._offset = self.start, self._second
        while self.line + 1 < end:
            self.start_record()
            text = next(self, "")
            if not text:  # the file has become shorter
                return
            yield text

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        data = self._file.readline(self._max_bytes + 1)
        if not data:
            self._ended = True
            raise StopIteration
        self.line += 1
        self._offset += len(data)
        self._held += len(data)
        if self._held > self._max_bytes:
            raise self._too_long(data)
        text = _text(data, self.line)
        if self.line == self.start:
            self.first, self._second = text, self._offset
        else:
            self._alike += text.count(self.delimiter) == self._delimiters
            self._blank += text.isspace()
        return text

    def _too_long(self, data: bytes) -> BadDocument:
        while data and not data.endswith(b"\n"):
            data = self._file.readline(self._max_bytes + 1)
            self._offset += len(data)
        return BadDocument(
            f"It is over {self._max_bytes} bytes, or a quote in it is never closed.",
            advice="Mend the quotes, or raise ingest.max_document_bytes.",
        )
