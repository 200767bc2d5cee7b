"""From what the user names (directories, globs, files; local or s3://) to the units of work that readers take.

A unit is one file, or a byte range of a large file of many documents, so that several readers can share it: a JSONL
line belongs to the range that holds its first byte, a Parquet row group likewise.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, get_args
from urllib.parse import urlsplit

from kaizen.errors import InvalidInput

Format = Literal["txt", "md", "html", "pdf", "docx", "csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
_EXTENSIONS: Mapping[str, Format] = {
    **{f".{name}": name for name in FORMATS},
    ".text": "txt",
    ".markdown": "md",
    ".htm": "html",
    ".ndjson": "jsonl",
}
_SPLITTABLE: frozenset[Format] = frozenset({"jsonl", "parquet"})
_WILDCARD = re.compile(r"[*?\[]")
PART_BYTES = 16 * 2**20


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

    def open(self) -> BinaryIO:
        """Open the file for reading bytes, seekable.

        Raises:
            OSError: it is gone or may not be read.
            Unavailable: the object store does not answer.
        """
        if self.uri.startswith("s3://"):
            from kaizen.text import s3_files  # only those who use it pay for its import (0.5 s)

            return s3_files.open_file(self.uri, self.endpoint_url)
        from kaizen.text import local_files

        return local_files.path_of(self.uri).open("rb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What SOURCE... stands for: `files` in a deterministic order, and how many were left out, by reason."""

    files: tuple[SourceFile, ...]
    skipped: Mapping[str, int]


def expand(sources: Sequence[str], *, endpoint_url: str = "", part_bytes: int = PART_BYTES) -> Expansion:
    """Find the files that `sources` stand for; a file that two of them match belongs to the first.

    Unknown extensions, hidden files and symbolic links that leave the root are skipped and counted.

    Raises:
        InvalidInput: a source does not exist or holds nothing that can be read, or two files would have one id.
        Unavailable: the object store does not answer.
    """
    skipped: Counter[str] = Counter()
    files: dict[str, SourceFile] = {}
    for source in sources:
        listed = list(_listing(source, endpoint_url, skipped))
        if not listed:
            raise InvalidInput(
                f"{source!r} holds no file that can be read.",
                advice=f"Name a file, directory or quoted glob with any of: {', '.join(FORMATS)}.",
            )
        for file in listed:
            files.setdefault(file.uri, file)
    _refuse_same_names(files.values())
    parts = [part for file in files.values() for part in _parts(file, part_bytes)]
    return Expansion(files=tuple(parts), skipped=dict(+skipped))


def format_of(path: str) -> Format | None:
    """Return the format that the extension of `path` names, None for one that nobody here reads."""
    return _EXTENSIONS.get(PurePosixPath(path).suffix.lower())


def why_skipped(path: str) -> str:
    """Return why the file at `path` (below its root) is left out, "" if it is not."""
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


def _match(segments: list[str], globs: list[str]) -> bool:
    if not globs:
        return not segments
    if globs[0] == "**" and _match(segments, globs[1:]):
        return True
    if not segments or not fnmatch.fnmatchcase(segments[0], globs[0]):
        return False
    return _match(segments[1:], globs if globs[0] == "**" else globs[1:])


def _listing(source: str, endpoint_url: str, skipped: Counter[str]) -> Iterator[SourceFile]:
    scheme = urlsplit(source).scheme if "://" in source else ""
    if scheme == "s3":
        from kaizen.text import s3_files

        return s3_files.list_files(source, endpoint_url, skipped)
    if scheme in ("", "file"):
        from kaizen.text import local_files

        return local_files.list_files(source, skipped)
    raise InvalidInput(f"Cannot read from {scheme}://.", advice="Name a local path or s3://bucket/prefix.")


def _parts(file: SourceFile, part_bytes: int) -> Iterator[SourceFile]:
    if file.format not in _SPLITTABLE or file.size_bytes <= part_bytes:
        yield file
        return
    for start in range(0, file.size_bytes, part_bytes):
        end = start + part_bytes
        yield replace(file, start=start, end=end if end < file.size_bytes else None)


def _refuse_same_names(files: Iterable[SourceFile]) -> None:
    seen: dict[str, str] = {}
    for file in files:
        other = seen.setdefault(file.name, file.uri)
        if other != file.uri:
            raise InvalidInput(
                f"{other} and {file.uri} would both be {file.name!r}.",
                advice="Name the directory above both instead, or rename one of the two roots.",
            )
