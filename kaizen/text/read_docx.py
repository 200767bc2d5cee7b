"""Word documents as text, by python-docx: paragraphs, lists and tables in their order. Runs in the sandbox."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import docx
from docx.document import Document as WordDocument
from docx.table import Table
from docx.text.paragraph import Paragraph

from kaizen.errors import BadDocument

_OLE = b"\xd0\xcf\x11\xe0"
_MOST_ENTRIES = 10_000
_SMALL_BYTES = 16 * 2**20  # unpacked: harmless whatever the ratio
_BLOCK_BYTES = 2**20
_RESAVE = "Save it again and send that."
# What zipfile raises on damage: of offsets and sizes (ValueError, struct.error) as well as of contents.
_NOT_AN_ARCHIVE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, OSError, ValueError),
)


def rows(file: BinaryIO, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the one document of `file`: title, text (table rows as `a | b`), metadata."""
    data = file.read()
    check_archive(data, request["max_expansion"])
    try:
        document = docx.Document(io.BytesIO(data))
    except (KeyError, ValueError) as error:
        raise BadDocument("It is a zip archive but not a Word document.", advice=_RESAVE) from error
    parts, size = [], 0
    for part in _parts(document):
        size += len(part)
        if size > request["max_document_bytes"]:
            raise BadDocument(f"It holds over {request['max_document_bytes']} bytes of text.", advice="Split it.")
        parts.append(part)
    author = document.core_properties.author.strip()
    yield {
        "title": _title(document),
        "text": "\n\n".join(parts),
        "metadata": {"author": author} if author and author != "python-docx" else {},
    }


def check_archive(data: bytes, max_expansion: int) -> None:
    """Refuse an archive that is damaged, encrypted, or unpacks to more than `max_expansion` times its size.

    What the archive declares is checked first, then what really comes out, before any parser sees it.

    Raises:
        BadDocument: it is refused.
    """
    if data.startswith(_OLE):
        raise BadDocument("It is protected by a password, or an old .doc.", advice="Save it as .docx without one.")
    most = max(_SMALL_BYTES, max_expansion * len(data))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_declared(entries, most)
            left = most
            for entry in entries:
                left -= _unpacked_bytes(archive, entry, left)
    except _NOT_AN_ARCHIVE as error:
        raise BadDocument("It is a damaged Word document.", advice=_RESAVE) from error


def _check_declared(entries: list[zipfile.ZipInfo], most: int) -> None:
    if len(entries) > _MOST_ENTRIES:
        raise BadDocument(f"It is an archive of {len(entries)} files.", advice=_RESAVE)
    if any(".." in entry.filename.split("/") or entry.filename.startswith("/") for entry in entries):
        raise BadDocument("It is an archive with a file name that climbs ('..').", advice="Do not trust it.")
    if any(entry.flag_bits & 1 for entry in entries):
        raise BadDocument("It is encrypted.", advice="Save it without a password.")
    if sum(entry.file_size for entry in entries) > most:
        raise _bomb(most)


def _unpacked_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> int:
    size = 0
    with archive.open(entry) as content:
        while block := content.read(_BLOCK_BYTES):
            if size == 0 and entry.filename.endswith((".xml", ".rels")):
                _refuse_entities(block)
            size += len(block)
            if size > most:
                raise _bomb(most)
    return size


def _refuse_entities(block: bytes) -> None:
    # Office files have no DTD (ECMA-376, part 2): one that does is after the parser.
    head = block[:4096]
    if b"<!DOCTYPE" in head or "<!DOCTYPE".encode("utf-16-le") in head or "<!DOCTYPE".encode("utf-16-be") in head:
        raise BadDocument("Its XML defines entities.", advice="Do not trust it.")


def _bomb(most: int) -> BadDocument:
    return BadDocument(
        f"It unpacks to more than {most} bytes (a zip bomb).", advice="Raise ingest.max_expansion if you trust it."
    )


def _parts(document: WordDocument) -> Iterator[str]:
    for block in document.iter_inner_content():
        text = _table(block) if isinstance(block, Table) else _paragraph(block)
        if text.strip():
            yield text


def _paragraph(paragraph: Paragraph) -> str:
    text = paragraph.text
    return f"- {text}" if text.strip() and _style(paragraph).startswith("List") else text


def _table(table: Table) -> str:
    lines = []
    for row in table.rows:
        cells: list[Any] = []
        for cell in row.cells:
            if not cells or cell._tc is not cells[-1]._tc:  # a merged cell comes once for each column that it spans
                cells.append(cell)
        lines.append(" | ".join(" ".join(cell.text.split()) for cell in cells))
    return "\n".join(lines)


def _title(document: WordDocument) -> str:
    title = str(document.core_properties.title).strip()
    if title:
        return title
    headings = (p.text for p in document.paragraphs if _style(p) in ("Title", "Heading 1") and p.text.strip())
    return next(headings, "")


def _style(paragraph: Paragraph) -> str:
    return str(paragraph.style.name or "") if paragraph.style else ""
