"""From what the user names (directories, globs, files; local or s3://) to the units of work that readers take.

A unit is one file, or a byte range of a large file of many documents, so that several readers can share it: a JSONL
line belongs to the range that holds its first byte, a Parquet row group likewise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO
from urllib.parse import urlsplit

from kaizen.errors import InvalidInput
from kaizen.text.local_files import INCOMPLETE, list_files, path_of
from kaizen.text.source_file import FORMATS, ONE_DOCUMENT, Format, SourceFile

_SPLITTABLE: frozenset[Format] = frozenset({"jsonl", "parquet"})
PART_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What SOURCE... stands for: `files` in a deterministic order, and how many were left out, by reason.

    `incomplete` are those of the sources (`SourceFile.source`) of which a part could not be listed.
    """

    files: tuple[SourceFile, ...]
    skipped: Mapping[str, int]
    incomplete: frozenset[str] = frozenset()

    @property
    def documents(self) -> int | None:
        """How many documents there are; None where only reading tells."""
        return len(self.files) if all(file.format in ONE_DOCUMENT for file in self.files) else None


def expand(sources: Sequence[str], *, endpoint_url: str = "", part_bytes: int = PART_BYTES) -> Expansion:
    """Find the files that `sources` stand for; a file that two of them match belongs to the first.

    Unknown extensions, hidden files and symbolic links that leave the root are skipped and counted.

    Raises:
        InvalidInput: a source does not exist or holds nothing that can be read, or two files would have one id.
        Unavailable: the object store does not answer.
    """
    skipped: Counter[str] = Counter()
    files: dict[str, SourceFile] = {}
    incomplete: set[str] = set()
    for source in sources:
        left_out: Counter[str] = Counter()
        listed = list(_listing(source, endpoint_url, left_out))
        if not listed:
            raise InvalidInput(
                f"{source!r} holds no file that can be read.",
                advice=f"Name a file, directory or quoted glob with any of: {', '.join(FORMATS)}.",
            )
        for file in listed:
            files.setdefault(file.uri, file)
        if INCOMPLETE & left_out.keys():
            incomplete.add(listed[0].source)
        skipped += left_out
    _refuse_same_names(files.values())
    parts = [part for file in files.values() for part in _parts(file, part_bytes)]
    return Expansion(files=tuple(parts), skipped=dict(skipped), incomplete=frozenset(incomplete))


def open_source(file: SourceFile) -> BinaryIO:
    """Open the file of a unit for reading bytes, seekable.

    Raises:
        OSError: it is gone or may not be read.
        Unavailable: the object store does not answer.
    """
    if file.uri.startswith("s3://"):
        from kaizen.text import s3_files  # only those who use it pay for its import (0.5 s)

        return s3_files.open_file(file.uri, file.endpoint_url)
    return path_of(file.uri).open("rb")


def _listing(source: str, endpoint_url: str, skipped: Counter[str]) -> Iterator[SourceFile]:
    scheme = urlsplit(source).scheme if "://" in source else ""
    if scheme == "s3":
        from kaizen.text import s3_files

        return s3_files.list_files(source, endpoint_url, skipped)
    if scheme in ("", "file"):
        return list_files(source, skipped)
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
