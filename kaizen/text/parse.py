"""From a unit of work to its documents, and to what could not be one, with the reason: bad content never raises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, BinaryIO, Protocol

from kaizen.config import Ingest
from kaizen.errors import BadDocument, InvalidInput
from kaizen.records import Document, Quarantined
from kaizen.text.decode import decode
from kaizen.text.read_plain import first_line, read_markdown, read_text
from kaizen.text.rows import Row, document_from_row
from kaizen.text.rows_csv import CsvRows
from kaizen.text.rows_jsonl import JsonlRows
from kaizen.text.sandbox import Sandbox
from kaizen.text.source_file import ONE_DOCUMENT, SourceFile
from kaizen.text.sources import open_source

_MOST_REMEMBERED_IDS = 2**20  # about 100 MB
_MOST_BAD_ROWS = 1000


class Unread(Quarantined):
    """Rows that cannot be read, one or all the rest of a file. Their place names them: nobody knows their ids."""

    __slots__ = ()


class _Rows(Protocol):
    """Rows of a file; `number` and `place` are those of the row that was yielded last."""

    def __iter__(self) -> Iterator[Row | BadDocument]: ...
    def number(self) -> int: ...
    def place(self) -> str: ...


def read_documents(
    unit: SourceFile, settings: Ingest, tenant: str, groups: tuple[str, ...] = (), *, sandbox: Sandbox | None = None
) -> Iterator[Document | Quarantined]:
    """Yield the documents of `unit`, in the order of the file, and a Quarantined for each that cannot be taken.

    Rows whose ids nobody could read come as Unread. With `unit.only`, nothing but what has one of these ids comes.

    A file of the formats txt, md, html, pdf, docx is one document, whose id is `unit.name`. Rows of csv, jsonl and
    parquet name their ids (see `rows.document_from_row`), else theirs is `unit.name#row`, counted from 1 in the
    file. Of the rows of a unit with one id the first is taken, the others are quarantined: which of them was meant
    only their author knows. `groups` may see a document that names none itself. Memory: one document, and the ids
    of a unit's rows.

    Args:
        sandbox: the process that reads html, pdf, docx and parquet. Give one to use it for many units; otherwise
            one is started, if needed, and ended with this unit.

    Raises:
        Unavailable: the object store does not answer, or the sandbox does not start.
    """
    for item in _everything(unit, _Reader(unit, settings, tenant, groups), settings, sandbox):
        if not unit.only or (item.id if isinstance(item, Document) else item.document_id) in unit.only:
            yield item


def _everything(
    unit: SourceFile, reader: _Reader, settings: Ingest, sandbox: Sandbox | None
) -> Iterator[Document | Quarantined]:
    with ExitStack() as stack:
        if sandbox is None:
            sandbox = stack.enter_context(Sandbox(parse_seconds=settings.parse_seconds))
        try:
            yield from reader.items(stack.enter_context(open_source(unit)), sandbox)
        except (BadDocument, InvalidInput) as error:
            yield reader.refused_file(str(error))
        except OSError as error:
            yield reader.refused_file(f"It cannot be read: {error.strerror or type(error).__name__}.")


class _Reader:
    """Reads one unit."""

    def __init__(self, unit: SourceFile, settings: Ingest, tenant: str, groups: tuple[str, ...]) -> None:
        self._unit = unit
        self._settings = settings
        self._tenant = tenant
        self._groups = groups
        self._seen: set[str] = set()

    def items(self, file: BinaryIO, sandbox: Sandbox) -> Iterator[Document | Quarantined]:
        """Yield the documents of `file`.

        Raises:
            BadDocument, InvalidInput: the (rest of the) file cannot be taken.
        """
        if self._unit.size_bytes == 0:
            raise BadDocument("It is empty.", advice="Fill it or remove it.")
        max_bytes = self._settings.max_document_bytes
        if self._unit.format == "jsonl":
            yield from self._from_rows(JsonlRows(self._unit, file, max_bytes))
        elif self._unit.format == "csv":
            yield from self._from_rows(CsvRows(file, max_bytes))
        elif self._unit.format == "parquet":
            yield from self._from_rows(_SandboxedRows(sandbox, file, self._request()))
        elif self._unit.size_bytes > max_bytes:
            raise BadDocument(f"It is over {max_bytes} bytes.", advice="Split it, or raise ingest.max_document_bytes.")
        else:
            yield self._document(self._whole(file, sandbox))

    def refused_file(self, reason: str) -> Quarantined:
        """Return the record of a file that cannot be read, or not to its end."""
        kind = Quarantined if self._unit.format in ONE_DOCUMENT else Unread
        return self._refused(kind, self._unit.name, reason)

    def _refused(self, kind: type[Quarantined], document_id: str, reason: str) -> Quarantined:
        return kind(
            tenant=self._tenant,
            source=self._unit.source,
            document_id=document_id.encode("utf-8", "backslashreplace").decode(),
            reason=reason,
            at=time.time(),
        )

    def _whole(self, file: BinaryIO, sandbox: Sandbox) -> Row:
        """Return a file that is one document as a row."""
        read: dict[str, Any]
        if self._unit.format in ("txt", "md"):
            text = decode(file.read(self._unit.size_bytes))  # no more, should it have grown since it was listed
            read = read_text(text) if self._unit.format == "txt" else read_markdown(text)
        else:
            (read,) = sandbox.rows(file, self._request())  # all of it, so that the sandbox is free again
        metadata = {"format": self._unit.format, **read["metadata"]}
        return {**read, "title": read["title"] or first_line(read["text"]), "metadata": metadata}

    def _from_rows(self, rows: _Rows) -> Iterator[Document | Quarantined]:
        good = bad = 0
        for row in rows:
            try:
                document = self._row_document(row, rows)
            except (BadDocument, InvalidInput) as error:
                bad += 1
                kind = Quarantined if isinstance(error, _Repeated) else Unread
                yield self._refused(kind, f"{self._unit.name}#{rows.number()}", f"{rows.place()}: {error}")
            else:
                good += 1
                yield document
            if bad >= _MOST_BAD_ROWS and not good:
                raise BadDocument(
                    f"None of its first {bad} rows is a document; the rest was not read.",
                    advice="Check that the file is what its extension says.",
                )

    def _row_document(self, row: Row | BadDocument, rows: _Rows) -> Document:
        if isinstance(row, BadDocument):
            raise row
        document = self._document(row, lambda: f"{self._unit.name}#{rows.number()}")
        if document.id in self._seen:
            raise _Repeated("It has the id of an earlier row.", advice="Give each row an id of its own.")
        if len(self._seen) < _MOST_REMEMBERED_IDS:
            self._seen.add(document.id)
        return document

    def _document(self, row: Row, default_id: Callable[[], str] | None = None) -> Document:
        return document_from_row(
            row,
            default_id=default_id or (lambda: self._unit.name),
            tenant=self._tenant,
            groups=self._groups,
            source=self._unit.source,
        )

    def _request(self) -> dict[str, object]:
        return {
            "format": self._unit.format,
            "size_bytes": self._unit.size_bytes,
            "start": self._unit.start,
            "end": self._unit.end,
            "max_document_bytes": self._settings.max_document_bytes,
            "max_expansion": self._settings.max_expansion,
        }


class _Repeated(BadDocument):
    """A row whose id is known: it came before."""


class _SandboxedRows:
    """Rows that the sandbox reads."""

    def __init__(self, sandbox: Sandbox, file: BinaryIO, request: Mapping[str, object]) -> None:
        self._sandbox = sandbox
        self._file = file
        self._request = request
        self._number = 0

    def __iter__(self) -> Iterator[Row | BadDocument]:
        for answer in self._sandbox.rows(self._file, self._request):
            self._number = answer["row"]
            yield answer["value"] if "value" in answer else BadDocument(answer["error"], advice="Split it.")

    def number(self) -> int:
        return self._number

    def place(self) -> str:
        return f"row {self._number}"
