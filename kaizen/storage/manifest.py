"""Manifests: what a directory must hold, by sha256. Written last, checked at every load.

FAISS and friends check nothing when they read a file, and one flipped bit gives wrong answers in silence.
The manifest carries a sum of itself, so that no byte of it can change unnoticed either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kaizen.errors import Corrupt, InvalidInput
from kaizen.ids import fingerprint

MANIFEST_FILE = "sha256.json"
_ADVICE = "Do not use it: build it again, or restore it from a backup."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSum:
    """One file: its path in the directory with `/`, its size, and its sum in 64 hex digits."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All files of one immutable directory, ordered by path, the manifest itself left out."""

    files: tuple[FileSum, ...]

    @property
    def fingerprint(self) -> str:
        """One sum over all; equal for directories of equal content."""
        return fingerprint([asdict(file) for file in self.files])

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size_bytes for file in self.files)

    def encode(self) -> bytes:
        """Return the manifest file's bytes."""
        return encode_summed([asdict(file) for file in self.files])

    @classmethod
    def decode(cls, data: bytes, name: str) -> Manifest:
        """Read a manifest file; Corrupt when it is torn, changed, or names a path outside of its directory."""
        try:
            files = tuple(FileSum(**file) for file in decode_summed(data))
            inside = all(_is_inside(file.path) for file in files)
        except (TypeError, ValueError) as error:
            raise Corrupt(f"The manifest of {name!r} is torn or changed.", advice=_ADVICE) from error
        if not inside:
            raise Corrupt(f"The manifest of {name!r} names a file outside of it.", advice=_ADVICE)
        return cls(files)

    @classmethod
    def of(cls, directory: Path) -> Manifest:
        """Sum up a directory on the local disk.

        Raises:
            InvalidInput: it is no directory, or holds a file with the manifest's own name.
        """
        if not directory.is_dir():
            raise InvalidInput(f"{directory.name!r} is not a directory.", advice="Name an existing directory.")
        files = tuple(_sum_up(directory, path) for path in _paths(directory))
        if any(file.path == MANIFEST_FILE for file in files):
            raise InvalidInput(f"The directory has a file {MANIFEST_FILE!r} of its own.", advice="Rename that file.")
        return cls(files)

    def verify(self, directory: Path, name: str) -> None:
        """Check every file in `directory`; Corrupt names the first that is missing or differs."""
        for file in self.files:
            path = directory / file.path
            if not path.is_file():
                raise Corrupt(f"{name!r} lacks the file {file.path!r}.", advice=_ADVICE)
            if path.stat().st_size != file.size_bytes or _sha256(path) != file.sha256:
                raise Corrupt(f"The file {file.path!r} of {name!r} does not match its checksum.", advice=_ADVICE)


def encode_summed(value: object) -> bytes:
    """Return JSON that carries a checksum of itself."""
    return json.dumps({"sha256": fingerprint(value), "value": value}, indent=1).encode()


def decode_summed(data: bytes) -> Any:  # noqa: ANN401 - whatever was encoded
    """Return what `encode_summed` was given; ValueError unless these are exactly the bytes that it gave."""
    read = json.loads(data)
    if not isinstance(read, dict) or "value" not in read or encode_summed(read["value"]) != data:
        raise ValueError("checksum mismatch")
    return read["value"]


def _paths(directory: Path) -> Iterator[Path]:
    return iter(sorted(path for path in directory.rglob("*") if path.is_file()))


def _sum_up(directory: Path, path: Path) -> FileSum:
    relative = path.relative_to(directory).as_posix()
    return FileSum(path=relative, size_bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path
