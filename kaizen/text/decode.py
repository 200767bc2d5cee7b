"""Bytes to text, strictly: text that is guessed wrong is worse than a document that is sent back."""

from __future__ import annotations

import codecs

from kaizen.errors import BadDocument

# UTF-32's little-endian mark begins with UTF-16's, so it comes first.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """Return the text of `data`: UTF-8, or what its byte-order mark says.

    Raises:
        BadDocument: it is not in that encoding, or holds a NUL; the message gives the offset.
    """
    mark, encoding = next((pair for pair in _MARKS if data.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise BadDocument(
            f"It is not {encoding.upper()} text: byte {len(mark) + error.start} is wrong.",
            advice="Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8.",
        ) from error
    nul = text.find("\0")
    if nul >= 0:
        raise BadDocument(
            f"It has a NUL at character {nul}, so it is binary, or UTF-16 without a byte-order mark.",
            advice="Give binary files their right extension; convert UTF-16 to UTF-8.",
        )
    return text


def refuse_utf16(head: bytes) -> None:
    """Raise BadDocument if the first bytes of a file of lines say that it is UTF-16 or UTF-32: its lines are not."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise BadDocument("It is UTF-16 or UTF-32.", advice="Convert it, for example: iconv -f UTF-16 -t UTF-8.")
