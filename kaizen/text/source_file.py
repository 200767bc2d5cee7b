"""One unit of work for readers, and the rules about paths that every kind of listing shares."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

Format = Literal["txt", "md", "html", "pdf", "docx", "csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
# A file of these is one document; of the others only reading tells which they hold.
ONE_DOCUMENT: frozenset[Format] = frozenset({"txt", "md", "html", "pdf", "docx"})
_EXTENSIONS: Mapping[str, Format] = {
    **{f".{name}": name for name in FORMATS},
    ".text": "txt",
    ".markdown": "md",
    ".htm": "html",
    ".ndjson": "jsonl",
}
_LOCKS = ("~$", ".~lock.")  # what Word and LibreOffice write beside a document that is open
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One unit of work.

    Attributes:
        source: canonical URI of the SOURCE argument, what `--prune` works on.
        uri: the file itself: `file:///...` or `s3://...`.
        path: its path below the root of the source, with "/".
        name: basename of the root + "/" + path: the document id of a file that is one document. It depends neither
            on the machine nor on where the root lies.
        etag: changes when the content does (S3's ETag; size and modification time of a local file).
        start, end: byte range of this unit; `end` is None for the rest of the file.
        only: ids of the documents that are wanted of it; without any, all are.
    """

    source: str
    uri: str
    path: str
    name: str
    format: Format
    size_bytes: int
    modified: float | None
    etag: str
    endpoint_url: str = ""
    start: int = 0
    end: int | None = None
    only: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Tells the unit from all others of a run."""
        return f"{self.uri}@{self.start}"


def format_of(path: str) -> Format | None:
    """Return the format that the extension of `path` names, None for one that nobody here reads."""
    return _EXTENSIONS.get(PurePosixPath(path).suffix.lower())


def why_skipped(path: str) -> str:
    """Return why the file at `path` (below its root) is left out, "" if it is not."""
    if PurePosixPath(path).name.startswith(_LOCKS):
        return "lock file"
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden"
    if format_of(path) is None:
        return f"unknown extension {PurePosixPath(path).suffix.lower()[:16]!r}"
    return ""


def split_glob(path: str) -> tuple[str, str]:
    """Split a path at the first segment with a wildcard: (root, pattern), pattern "" without one."""
    segments = path.split("/")
    for index, segment in enumerate(segments):
        if _WILDCARD.search(segment):
            return "/".join(segments[:index]), "/".join(segments[index:])
    return path, ""


def matches(path: str, pattern: str) -> bool:
    """Say whether `path` below the root matches: `*` stays within a segment, `**` spans any number of them."""
    return not pattern or _match(path.split("/"), pattern.split("/"))


def reaches(folder: str, pattern: str) -> bool:
    """Say whether a file below `folder` (below the root) could match."""
    return not pattern or _reaches(folder.split("/"), pattern.split("/"))


def _reaches(segments: list[str], globs: list[str]) -> bool:
    if not segments or not globs or globs[0] == "**":
        return bool(globs)
    return fnmatch.fnmatchcase(segments[0], globs[0]) and _reaches(segments[1:], globs[1:])


def _match(segments: list[str], globs: list[str]) -> bool:
    if not globs:
        return not segments
    if globs[0] == "**" and _match(segments, globs[1:]):
        return True
    if not segments or not fnmatch.fnmatchcase(segments[0], globs[0]):
        return False
    return _match(segments[1:], globs if globs[0] == "**" else globs[1:])
