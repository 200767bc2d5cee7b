"""The lines of a file that a person or another program wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kaizen.errors import InvalidInput


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, text) of the lines that are not blank, without a mark of byte order at the beginning.

    Only a newline ends a line: JSON may hold what `str.splitlines` cuts at as it is.

    Raises:
        InvalidInput: a line is not UTF-8; it is named.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{path.name}:{number} is not UTF-8.", advice="Save the file as UTF-8.") from error
            if text.strip():
                yield number, text
