"""Word documents as text: paragraphs, lists and tables in their order, as one who accepts all changes reads them.

By python-docx, but for the walk over the text, which it does not look for in insertions, content controls, fields,
text boxes and tables within tables, nor in notes and formulas. Headers and footers stay out: they are the same on every
page, and mostly in every document. Runs in the sandbox.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Set
from typing import Any, BinaryIO

import docx
from docx.document import Document as WordDocument
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from lxml import etree

from kaizen.errors import BadDocument

_OLE = b"\xd0\xcf\x11\xe0"
_MOST_ENTRIES = 10_000
_SMALL_BYTES = 16 * 2**20  # unpacked: harmless whatever the ratio
_BLOCK_BYTES = 2**20
_RESAVE = "Save it again and send that."
_PARAGRAPH, _TABLE, _ROW, _CELL, _CONTROL, _BOX = (
    qn(f"w:{name}") for name in ("p", "tbl", "tr", "tc", "sdt", "txbxContent")
)
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MATH_TEXT = f"{_MATH}t"
_MATH_MARKS = {f"{_MATH}den": "/", f"{_MATH}sup": "^", f"{_MATH}sub": "_"}  # before what they stand for, if anything
_SYMBOL = qn("w:sym")
# What the codes of the font Symbol show; those of the others (Wingdings, Webdings) are pictures, and left out.
_SYMBOL_FONT = dict(
    zip(
        (*range(0x20, 0x7F), *range(0xA1, 0xBD), *range(0xC0, 0xD2), *range(0xD5, 0xE2), 0xE5, 0xF1, 0xF2),
        " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"  # noqa: RUF001
        "ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇∏√⋅¬∧∨⇔⇐⇑⇒⇓◊⟨∑⟩∫",  # noqa: RUF001
        strict=True,
    )
)
_CODE = re.compile(r"[0-9A-Fa-f]{4}")
_TEXT = frozenset(qn(f"w:{name}") for name in ("t", "tab", "ptab", "br", "cr", "noBreakHyphen")) | {
    _SYMBOL,
    _MATH_TEXT,
    *_MATH_MARKS,
}
_HIDDEN = f"{qn('w:rPr')}/{qn('w:vanish')}"
_FOOTNOTE, _ENDNOTE = qn("w:footnoteReference"), qn("w:endnoteReference")
_NOTES = {_FOOTNOTE: RELATIONSHIP_TYPE.FOOTNOTES, _ENDNOTE: RELATIONSHIP_TYPE.ENDNOTES}
# What is struck out, how a word is pronounced, and what old programs show in place of a text box. Tabs of a paragraph's
# properties are where tabs stop.
_DROPPED = frozenset(
    {qn(f"w:{name}") for name in ("pPr", "del", "moveFrom", "rt")}
    | {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}
)
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
    """Yield the text block by block; footnotes follow the block that refers to them, endnotes the whole."""
    notes = {key: note for kind in _NOTES for key, note in _notes(document, kind)}
    endnotes, styles = [], _Styles(document)
    for block in _blocks(document.element.body):
        yield from _block(block, styles)
        for reference in _references(block) if notes else ():
            note = notes.pop((reference.tag, reference.get(qn("w:id"))), None)  # only once, however often referred to
            if note is not None and reference.tag == _ENDNOTE:
                endnotes.append(note)
            elif note is not None:
                yield from _note(note, styles)
    for note in endnotes:
        yield from _note(note, styles)


def _notes(document: WordDocument, kind: str) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield the notes to which references of this `kind` lead, each as ((kind, id), element)."""
    for relation in document.part.rels.values():
        if relation.reltype == _NOTES[kind] and not relation.is_external:
            for note in parse_xml(relation.target_part.blob):
                if isinstance(note.tag, str):  # not a comment
                    yield (kind, note.get(qn("w:id"))), note


def _note(note: Any, styles: _Styles) -> Iterator[str]:  # noqa: ANN401 (lxml ships no types)
    for block in _blocks(note):
        yield from _block(block, styles)


def _references(block: Any) -> Iterator[Any]:  # noqa: ANN401
    closed = set() if block.tag == _TABLE else {_BOX, _PARAGRAPH, _TABLE}
    return (found for found in _below(block, set(_NOTES), closed) if not _is_hidden(found))


def _blocks(root: Any) -> Iterator[Any]:  # noqa: ANN401
    return _below(root, {_PARAGRAPH, _TABLE}, {_TABLE})


def _block(block: Any, styles: _Styles) -> Iterator[str]:  # noqa: ANN401
    text = _table(block) if block.tag == _TABLE else _paragraph(block, styles)
    if text.strip():
        yield text


def _below(root: Any, wanted: Set[str], closed: Set[str]) -> Iterator[Any]:  # noqa: ANN401
    """Yield the elements below `root` with a `wanted` tag, in their order, but none below one with a `closed` tag."""
    walk = etree.iterwalk(root, events=("start",), tag=[*wanted, *closed, *_DROPPED, _CONTROL])
    for _, element in walk:
        if element is root:
            continue
        if element.tag in wanted:
            yield element
        if element.tag in closed or element.tag in _DROPPED or _is_filled_by_word(element):
            walk.skip_subtree()


def _is_filled_by_word(element: Any) -> bool:  # noqa: ANN401
    """Whether it is a content control that shows its prompt ("Click here to enter text") or the table of contents."""
    properties = element.find(qn("w:sdtPr"))
    if properties is None:
        return False
    gallery = properties.find(f"{qn('w:docPartObj')}/{qn('w:docPartGallery')}")
    contents = gallery is not None and gallery.get(qn("w:val")) == "Table of Contents"
    return contents or properties.find(qn("w:showingPlcHdr")) is not None


def _paragraph(paragraph: Any, styles: _Styles) -> str:  # noqa: ANN401
    text = _text(paragraph)
    return f"- {text}" if text.strip() and styles.name(paragraph).startswith("List") else text


def _text(paragraph: Any) -> str:  # noqa: ANN401
    """Return the text of a paragraph; what its text boxes hold comes after it, as paragraphs of their own."""
    return "".join(map(_characters, _below(paragraph, _TEXT, {_BOX, _PARAGRAPH, _TABLE})))


def _characters(element: Any) -> str:  # noqa: ANN401
    if _is_hidden(element):
        return ""
    if element.tag == _MATH_TEXT:
        return element.text or ""
    if element.tag in _MATH_MARKS:
        return _MATH_MARKS[element.tag] if next(element.iter(_MATH_TEXT), None) is not None else ""
    return _symbol(element) if element.tag == _SYMBOL else str(element)


def _symbol(element: Any) -> str:  # noqa: ANN401
    """Return the character of a font that the text names by its code; "" if only the font knows what it shows."""
    said = element.get(qn("w:char"), "")
    code = int(said, 16) if _CODE.fullmatch(said) else 0
    if element.get(qn("w:font")) == "Symbol" and code >> 8 in (0, 0xF0):
        return _SYMBOL_FONT.get(code & 0xFF, "")
    # Lower ones may be a font's own, too; surrogates and private use are nobody's.
    return chr(code) if 0x100 <= code < 0xD800 or code >= 0xF900 else ""


def _is_hidden(element: Any) -> bool:  # noqa: ANN401
    """Whether the run that it is in is not shown."""
    hidden = element.getparent().find(_HIDDEN)
    return hidden is not None and hidden.get(qn("w:val")) not in ("0", "false", "off")


def _table(table: Any) -> str:  # noqa: ANN401
    above: dict[int, str] = {}
    return "\n".join(" | ".join(_cells(row, above)) for row in _below(table, {_ROW}, {_ROW}))


def _cells(row: Any, above: dict[int, str]) -> Iterator[str]:  # noqa: ANN401
    """Yield the texts of a row's cells: of one that is merged with those `above` it, by column, theirs."""
    column = row.grid_before
    for cell in _below(row, {_CELL}, {_CELL}):
        if cell.vMerge != "continue":
            above[column] = " ".join(" ".join(map(_text, _below(cell, {_PARAGRAPH}, set()))).split())
        yield above.get(column, "")
        column += cell.grid_span


def _title(document: WordDocument) -> str:
    title = str(document.core_properties.title).strip()
    if title:
        return title
    styles = _Styles(document)
    paragraphs = _below(document.element.body, {_PARAGRAPH}, {_TABLE})
    headings = (_text(p) for p in paragraphs if styles.name(p) in ("Title", "Heading 1"))
    return next((text for text in headings if text.strip()), "")


class _Styles:
    """The names of paragraph styles, each looked up once: python-docx goes through all of them for every paragraph."""

    def __init__(self, document: WordDocument) -> None:
        self._document = document
        self._names: dict[str | None, str] = {}

    def name(self, paragraph: Any) -> str:  # noqa: ANN401
        """Return the name of a paragraph's style, as Word shows it; empty if the document has none for it."""
        if paragraph.style not in self._names:
            style = Paragraph(paragraph, self._document).style
            self._names[paragraph.style] = str(style.name or "") if style else ""
        return self._names[paragraph.style]
