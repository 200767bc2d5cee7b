"""Small source folders for ingest: every format, and what was made to do harm."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import docx
import pyarrow as pa
import pyarrow.parquet as pq
from reportlab.pdfgen.canvas import Canvas

# File -> a word that only its document holds.
WORDS = {
    "notes.txt": "aardvark",
    "guide.md": "badger",
    "page.html": "capybara",
    "paper.pdf": "dingo",
    "letter.docx": "echidna",
    "sub/deep.txt": "ferret",
}
ROWS = {"table.csv#1": "gibbon", "lines.jsonl#l1": "hyena", "columns.parquet#p1": "ibex"}
HOSTILE = {
    "empty.txt": "It is empty",
    "latin.txt": "not UTF-8",
    "nul.txt": "NUL",
    "cut.pdf": "truncated",
    "no.docx": "damaged Word",
    "bomb.docx": "",
    "bad.jsonl": "",
}


def write_corpus(folder: Path) -> None:
    """A document in each format; see WORDS and ROWS."""
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for name in ("notes.txt", "sub/deep.txt"):
        (folder / name).write_text(f"The {WORDS[name]} is mentioned here. It is an animal.\n")
    (folder / "guide.md").write_text(f"# Animals\n\nThe **{WORDS['guide.md']}** digs.\n")
    page = f"<html><title>Zoo</title><body><main><p>The {WORDS['page.html']} swims.</p></main></body></html>"
    (folder / "page.html").write_text(page)
    (folder / "paper.pdf").write_bytes(make_pdf(f"The {WORDS['paper.pdf']} howls at night."))
    letter = docx.Document()
    letter.add_paragraph(f"The {WORDS['letter.docx']} lays eggs.")
    letter.save(str(folder / "letter.docx"))
    (folder / "table.csv").write_text(f"id,text,legs\n1,The {ROWS['table.csv#1']} swings.,2\n")
    line = {"id": "l1", "text": f"The {ROWS['lines.jsonl#l1']} laughs.", "metadata": {"legs": 4}}
    (folder / "lines.jsonl").write_text(json.dumps(line) + "\n")
    pq.write_table(
        pa.table({"id": ["p1"], "text": [f"The {ROWS['columns.parquet#p1']} climbs."]}), folder / "columns.parquet"
    )


def write_hostile(folder: Path) -> None:
    """Files that cannot be taken; see HOSTILE."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "nul.txt").write_bytes(b"a\0b")
    (folder / "cut.pdf").write_bytes(make_pdf("text " * 300)[:-400])
    (folder / "no.docx").write_bytes(b"not a zip")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 2**27)
    (folder / "bomb.docx").write_bytes(bomb.getvalue())
    (folder / "bad.jsonl").write_text('{"id": "x", "text": NaN}\n')


def make_pdf(text: str) -> bytes:
    """A page with `text`."""
    file = io.BytesIO()
    canvas = Canvas(file)
    canvas.drawString(50, 700, text)
    canvas.save()
    return file.getvalue()


def write_texts(folder: Path, count: int, words: str) -> None:
    """`count` text files of several chunks each, all different, all with `words` in every chunk."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        lines = [f"Sentence {line} of text {number} speaks of {words} and more." for line in range(40)]
        (folder / f"{number:03d}.txt").write_text(" ".join(lines))
