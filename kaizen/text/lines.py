"""Lines of a file of any size, each of bounded length, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from kaizen.text.source_file import SourceFile
from kaizen.text.sources import open_source

_BLOCK_BYTES = 2**20


class Lines:
    """The lines whose first byte lies in a unit's range.

    Memory: one line of `max_bytes`. Numbers count from 1 within the file; to know them, a unit that does not start
    its file has to read what lies before it, so that is done once, when first asked.
    """

    def __init__(self, unit: SourceFile, file: BinaryIO, max_bytes: int) -> None:
        self._unit = unit
        self._file = file
        self._max_bytes = max_bytes
        self._before = 0 if unit.start == 0 else -1

    def __iter__(self) -> Iterator[bytes | None]:
        """Yield each line without its line end, None for one over the limit."""
        file, end = self._file, self._unit.end
        if self._unit.start:
            file.seek(self._unit.start - 1)
            _skip_line(file)  # a line that straddles the start belongs to the unit before
        while end is None or file.tell() < end:
            data = file.readline(self._max_bytes + 2)
            if not data:
                return
            line = data.rstrip(b"\r\n")
            if len(line) <= self._max_bytes:
                yield line
                continue
            if not data.endswith(b"\n"):
                _skip_line(file)
            yield None

    def number(self, index: int) -> int:
        """Return the number within the file of the line at `index` (from 0) of this unit."""
        if self._before < 0:
            with open_source(self._unit) as file:
                self._before = _newlines(file, self._unit.start - 1) + 1
        return self._before + index + 1


def _newlines(file: BinaryIO, until: int) -> int:
    count = 0
    while until > 0:
        block = file.read(min(_BLOCK_BYTES, until))
        if not block:
            break
        count += block.count(b"\n")
        until -= len(block)
    return count


def _skip_line(file: BinaryIO) -> None:
    while True:
        block = file.readline(_BLOCK_BYTES)
        if not block or block.endswith(b"\n"):
            return
