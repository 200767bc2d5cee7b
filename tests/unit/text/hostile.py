"""Files that were made to do harm, or are merely broken, and what is said of each; and sound ones to spoil."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

import pypdf

from tests.unit.text.test_parse import PAGE, make_docx, make_pdf
from tests.unit.text.test_rows import make_parquet


def _encrypted_pdf() -> bytes:
    writer, file = pypdf.PdfWriter(io.BytesIO(make_pdf("secret"))), io.BytesIO()
    writer.encrypt("password", algorithm="AES-256")
    writer.write(file)
    return file.getvalue()


def bomb_pdf() -> bytes:
    """A page whose content unpacks, through two layers of Flate, to a gigabyte."""
    inner = zlib.compress(b"q " * 2**20 * 8, 9)
    layers = zlib.compress(_compressed_blanks(2**30), 9)
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents[4 0 R 5 0 R]>>",
        b"<</Length %d/Filter[/FlateDecode/FlateDecode]>>stream\n%s\nendstream" % (len(layers), layers),
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(inner), inner),
    ]
    return _pdf(parts)


def nested_forms_pdf(pages: int = 12, width: int = 10, depth: int = 7) -> bytes:
    """Pages with a form, which draws another one `width` times, which draws a third: each page takes seconds."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (b"3 0 R " * pages, pages),
        page,
        b"<</Length 5>>stream\n/F Do\nendstream",
    ]
    for number in range(6, 6 + depth):
        drawn = b"/F Do " * width if number < 5 + depth else b"q Q"
        resources = b"<</XObject<</F %d 0 R>>>>" % number
        form = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources%s/Length %d>>stream\n%s\nendstream"
        parts.append(form % (resources, len(drawn), drawn))
    return _pdf(parts)


def _pdf(parts: Sequence[bytes]) -> bytes:
    """A file of these objects, numbered from 1, the first of which is the catalog."""
    body, offsets = b"%PDF-1.5\n", []
    for number, part in enumerate(parts, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    size = len(parts) + 1
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


def _compressed_blanks(size: int) -> bytes:
    """What zlib makes of `size` blanks, without compressing them all: one block of them over and over."""
    deflate = zlib.compressobj(1, wbits=-15)
    block = deflate.compress(b" " * 2**24) + deflate.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x01" + block * (size // 2**24) + b"\x03\x00"


def _archive(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def _docx_with(name: str, data: bytes) -> bytes:
    """A Word document with one part put in place of its own."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(make_docx())) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, data)
    return file.getvalue()


def _lying_bomb() -> bytes:
    """A bomb whose directory declares that it unpacks to ten bytes."""
    data = bytearray(_docx_with("word/document.xml", b"<a>" + b" " * 2**25))
    size = struct.pack("<I", 2**25 + 3)
    return bytes(data).replace(size, struct.pack("<I", 10))


def _nested_tables_docx(depth: int) -> bytes:
    """A table in a table in a table."""
    head, tail = b"<w:tbl><w:tr><w:tc>", b"<w:p/></w:tc></w:tr></w:tbl>"
    with zipfile.ZipFile(io.BytesIO(make_docx())) as archive:
        xml = archive.read("word/document.xml")
    return _docx_with("word/document.xml", xml.replace(b"<w:body>", b"<w:body>" + head * depth + tail * depth))


_ENTITIES = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>'


# Name, contents, and how the reason begins for which it is quarantined.
HOSTILE: list[tuple[str, Callable[[], bytes], str]] = [
    ("a.txt", lambda: b"", "It is empty"),
    ("a.txt", lambda: b" \n ", "It has no text"),
    ("a.txt", lambda: b"abc \xff", "It is not UTF-8 text: byte 4 is wrong"),
    ("a.txt", lambda: b"\xff\xfea\x00\x00", "It is not UTF-16-LE text: byte 4 is wrong"),
    (
        "a.md",
        lambda: b"abc\0def",
        "It has a NUL at character 3, so it is binary, or UTF-16 without a byte-order mark",
    ),
    ("a.txt", lambda: b"x" * 100 * 2**20, "It is over 33554432 bytes"),
    ("a.html", lambda: b"<div>" * 3000 + b"deep", "Its tags are nested deeper than 2048"),
    ("a.html", lambda: b"<script>only()</script>", "It has no text"),
    ("a.html", lambda: b"<meta charset=koi9><p>x", "It is not in 'koi9', as it says"),
    ("a.html", lambda: b"<meta charset=punycode><p>" + b"a-b" * 10**6, "It is not in 'punycode', as it says"),
    ("a.html", lambda: b"<meta charset=unicode_escape><p>\\u0000", "It is not in 'unicode_escape', as it says"),
    ("a.pdf", lambda: b"", "It is empty"),
    ("a.pdf", lambda: b"not a pdf", "It is not a PDF"),
    ("a.pdf", _encrypted_pdf, "It is an encrypted PDF"),
    ("a.pdf", lambda: make_pdf("text " * 500)[:-400], "It is a PDF without its end: truncated"),
    ("a.pdf", lambda: b"%PDF-1.7\ngarbage\n%%EOF", "It is a damaged PDF"),
    ("a.pdf", lambda: make_pdf(" "), "It has no text, only images"),
    ("a.docx", lambda: b"\xd0\xcf\x11\xe0" + b"x" * 600, "It is protected by a password, or an old .doc"),
    ("a.docx", lambda: b"not a zip", "It is a damaged Word document"),
    ("a.docx", lambda: make_docx()[:-100], "It is a damaged Word document"),
    ("a.docx", lambda: _archive(x=b"text"), "It is a zip archive but not a Word document"),
    ("a.docx", lambda: _docx_with("word/document.xml", b"\0" * 2**26), "It unpacks to more than 1"),
    ("a.docx", _lying_bomb, "It is a damaged Word document"),
    ("a.docx", lambda: _docx_with("../../evil", b"x"), "It is an archive with a file name that climbs ('"),
    ("a.docx", lambda: _docx_with("word/document.xml", _ENTITIES), "Its XML defines entities"),
    ("a.docx", lambda: _docx_with("word/document.xml", b"<w:document>"), "It is damaged (XMLSyntaxError)"),
    ("a.docx", lambda: _nested_tables_docx(1000), "It is damaged (XMLSyntaxError)"),
    ("a.docx", lambda: _archive(**{str(i): b"" for i in range(10_001)}), "It is an archive of 10001 files"),
    ("a.parquet", lambda: b"PAR1 not really PAR1", "It is not a Parquet file, or a damaged one"),
    ("a.parquet", lambda: make_parquet({"text": ["x" * 2**20] * 40}), "It unpacks to far more than its size"),
]

# One of each format that is taken.
SAMPLES: dict[str, bytes] = {
    "txt": b"text",
    "md": b"---\na: [b]\n---\n# c",
    "html": PAGE.encode(),
    "pdf": make_pdf("text"),
    "docx": make_docx(),
    "csv": b'id,text,n\n1,"a ""b""",2\n',
    "jsonl": b'{"id": "1", "text": "t", "groups": ["a"], "metadata": {"x": 1.5}}\n',
    "parquet": make_parquet({"id": ["1"], "text": ["t"]}),
}
