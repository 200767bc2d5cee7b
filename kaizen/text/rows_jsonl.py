"""JSON Lines as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from kaizen.errors import BadDocument
from kaizen.text.decode import decode, refuse_utf16
from kaizen.text.lines import Lines
from kaizen.text.rows import Row, parse_json
from kaizen.text.source_file import SourceFile


class JsonlRows:
    """The rows of one unit; `number` and `place` are those of the row that was yielded last."""

    def __init__(self, unit: SourceFile, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._at_start = unit.start == 0
        self._lines = Lines(unit, file, max_bytes)
        self._index = 0

    def __iter__(self) -> Iterator[Row | BadDocument]:
        if self._at_start:
            refuse_utf16(self._file.read(4))
            self._file.seek(0)
        for index, line in enumerate(self._lines):
            self._index = index
            if line is None or line.strip():
                yield self._row(line)

    def number(self) -> int:
        """Return the number of the line within the file, from 1."""
        return self._lines.number(self._index)

    def place(self) -> str:
        """Say where in the file the row is."""
        return f"line {self.number()}"

    def _row(self, line: bytes | None) -> Row | BadDocument:
        if line is None:
            return BadDocument(
                f"It is over {self._max_bytes} bytes.", advice="Split it, or raise ingest.max_document_bytes."
            )
        try:
            row = parse_json(decode(line))
        except BadDocument as error:
            return error
        if not isinstance(row, dict):
            return BadDocument("It is not a JSON object.", advice='Send one {"id": ..., "text": ...} a line.')
        return row
