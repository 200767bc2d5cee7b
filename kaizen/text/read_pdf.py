"""PDF as text, by PDFium: of the libraries that keep up with real files the fastest. Runs in the sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any, BinaryIO, NamedTuple

import pypdfium2  # type: ignore[import-untyped]  # ships no types

from kaizen.errors import BadDocument

_LINE_END = "\r\n"
_BROKEN_WORD = re.compile("(?<=[^\\W\\d_])(?:[\x02\ufffe]|-)\n(?=[a-z\u00df-\u00f6\u00f8-\u00ff])")
_NO_TITLES = frozenset({"untitled", "(anonymous)", "(unspecified)", "anonymous", "unspecified"})
_WIDE_GAP = 1.3  # of the page's usual distance between lines: a paragraph ends
_OTHER_SIZE = 1.15  # of the line before: a heading starts or ends


class _Line(NamedTuple):
    text: str
    left: float
    top: float
    height: float


def rows(file: BinaryIO, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the one document of `file`: title, text (pages and paragraphs apart by an empty line), metadata."""
    data = file.read()
    _check_whole(data)
    document = _opened(data)
    try:
        pages = list(_pages(document, request["max_document_bytes"]))
        if not any(page.strip() for page in pages):
            raise BadDocument("It has no text, only images.", advice="Put it through OCR first, such as ocrmypdf.")
        metadata = document.get_metadata_dict(skip_empty=True)
        yield {
            "title": _title(metadata),
            "text": "\n\n".join(pages),
            "metadata": {"pages": len(pages), **({"author": metadata["Author"]} if "Author" in metadata else {})},
        }
    finally:
        document.close()


def _check_whole(data: bytes) -> None:
    if b"%PDF-" not in data[:1024]:
        raise BadDocument("It is not a PDF.", advice="Check the file's extension.")
    # PDFium would rebuild the rest and say nothing; a part that passes for the whole is worse than none.
    if b"%%EOF" not in data[-2048:]:
        raise BadDocument("It is a PDF without its end: truncated.", advice="Copy or download it again.")


def _opened(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise BadDocument("It is an encrypted PDF.", advice="Save it without a password.") from error
        raise BadDocument("It is a damaged PDF.", advice="Save it again with another program.") from error


def _pages(document: pypdfium2.PdfDocument, max_bytes: int) -> Iterator[str]:
    size = 0
    for index in range(len(document)):
        page = document[index]
        content = page.get_textpage()
        text = _BROKEN_WORD.sub("", _paragraphs(list(_lines(content))))
        content.close()
        page.close()
        size += len(text)
        if size > max_bytes:
            raise BadDocument(f"It holds over {max_bytes} bytes of text.", advice="Split it.")
        yield text


def _lines(content: pypdfium2.PdfTextPage) -> Iterator[_Line]:
    at = 0
    for text in content.get_text_range().split(_LINE_END):
        first = at + len(text) - len(text.lstrip())
        if text.strip():
            left, bottom, _, top = content.get_charbox(min(first, content.count_chars() - 1), loose=True)
            yield _Line(text, left, top, top - bottom)
        at += len(text) + len(_LINE_END)


def _paragraphs(lines: list[_Line]) -> str:
    if not lines:
        return ""
    gaps = [above.top - below.top for above, below in pairwise(lines) if above.top > below.top]
    usual = median(gaps) if gaps else 0.0
    parts = [lines[0].text]
    for above, below in pairwise(lines):
        parts.append("\n\n" if _parted(above, below, usual) else "\n")
        parts.append(below.text)
    return "".join(parts)


def _parted(above: _Line, below: _Line, usual: float) -> bool:
    gap = above.top - below.top
    if not 0 <= gap <= _WIDE_GAP * usual:  # further down than usual, or up again: another column
        return True
    if max(above.height, below.height) > _OTHER_SIZE * min(above.height, below.height):
        return True
    indented = below.left - above.left > below.height / 2
    return indented and above.text.rstrip().endswith((".", "!", "?", ":"))


def _title(metadata: dict[str, str]) -> str:
    title = metadata.get("Title", "").strip()
    return "" if title.lower() in _NO_TITLES else title
