"""Small real files of each kind, made in code: where the fuzzer starts, and what the tests replay."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit.text.test_parse import PAGE, make_docx, make_pdf
from tests.unit.text.test_rows import make_parquet

FOUND = Path(__file__).parent / "found"
"""What was found once, by target: never to come back."""

_MARKDOWN = b"""---
title: 'Tea'
year: 2024
tags: [hot, "cold, iced"]
authors:
  - Ann
groups: [hr]
---
Heading
=======

# Other ##

1. one
- two

```
code
```
"""
_SLOW_HEADING = b"#" + b" " * 60_000 + b"x" * 600  # its title was looked for in time cubic in the blanks
_ROW = (
    b'{"_id": "a", "title": "T", "text": "One. Two.", "groups": ["hr"], "metadata": {"n": 1.5, "ok": true, "t": ["a"]}}'
)
_TEXTS = (
    b"Dr. Smith paid 3.50 for it. Really? Yes! (He did.)\n\n- one\n- two\n\n# Head\n| a | b |\n",
    "他们说。真的\uff01 e\u0301 \u200d\u00a0 नमस्ते। ".encode(),
    b"word " * 60 + b"x" * 300,
)


def seeds() -> Mapping[str, Sequence[bytes]]:
    """A few inputs for each target."""
    return {
        "txt": [b"Tea time\r\n\r\nBoil  the\twater.", "Grüße".encode("utf-16"), "Grüße".encode("utf-32")],
        "md": [_MARKDOWN, b"Title\n===\n# a #\n", b"~~~ x\n# a\n~~~~\n# b\n", b"---\n---\n# x", _SLOW_HEADING],
        "html": [PAGE.encode(), b"<meta charset=windows-1252><p>gr\xfc\xdfe", b"<main><td>x</td></main>", b"plain"],
        "pdf": [make_pdf("Some text.", title="Tea"), _tiny_pdf()],
        "docx": [make_docx()],
        "csv": [
            b'id,text,n,ok,groups\n1,"a ""b""",2,true,"x;y"\n2,b,,false,\n',
            b"text;n\nabc;1e3\n",
            b"title\tx\na\tb\n",
            b'id,text\n1,"19 inch\n2,"Big" sale\n3,c\n',
        ],
        "jsonl": [
            _ROW + b"\n\n" + b'{"id": 7, "content": "c", "url": "u"}\n',
            b'{"text": "t", "metadata": "{\\"a\\": 1}"}',
        ],
        "parquet": [
            make_parquet({"id": ["1", "2"], "text": ["t", "u"], "n": [1.5, None]}),
            make_parquet({"text": ["t"], "tags": [["a", "b"]], "deep": [{"x": 1}]}, compression="none"),
        ],
        "word_xml": [_word_xml()],
        "decode": [b"abc", "Grüße".encode("utf-16"), "Grüße".encode("utf-8-sig"), "Grüße".encode("utf-32-be")],
        "metadata": [b'{"a": 1, "b": 1.5, "c": true, "d": "x", "e": ["y"], "f": null}', b'["hr", "staff"]', b'"hr"'],
        "normalise": [*_TEXTS, b"a\r\n\x0b \tb\n\n\n\n    c  ", "e\u0301\u0302\ufeff\u202e\u2028x".encode()],
        "sentences": [*_TEXTS],
        "chunks": [b"Title\x1d" + text for text in _TEXTS],
        "repeats": [
            b"\0".join(parts)
            for parts in (
                (b"0", b"", b"a. ", b"", b""),
                (b"1", b"# ", b"x ", b"# ", b"x"),
                (b"1", b"", b"```\n", b"~~~\n", b""),
                (b"2", b"id,text\n", b'"a",b\n', b"", b""),
                (b"2", b"id,text\n", b'x","z\n', b"", b""),
                (b"3", b'{"text": "', b"a\\n", b"", b'"}'),
                (b"4", b"", b"a.b ", b"", b""),
                (b"5", b"<p>", b"<td>x", b"</td>", b""),
            )
        ],
    }


def found(target: str) -> Mapping[str, bytes]:
    """Inputs that once broke a promise, by name."""
    return {path.name: path.read_bytes() for path in sorted((FOUND / target).glob("*"))}


def _word_xml() -> bytes:
    with zipfile.ZipFile(io.BytesIO(make_docx())) as archive:
        return archive.read("word/document.xml")


def _tiny_pdf() -> bytes:
    """A PDF without compression, so that a changed byte is a changed word."""
    stream = b"BT /F1 12 Tf 9 90 Td (One line.) Tj 0 -14 Td (Another-) Tj 0 -14 Td (one.) Tj ET"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (i, part) for i, part in enumerate(parts, start=1))
    return body + b"trailer<</Size 6/Root 1 0 R>>\n%%EOF"
