"""Files of this machine as units of work."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kaizen.errors import InvalidInput
from kaizen.text.source_file import SourceFile, format_of, matches, reaches, split_glob, why_skipped

# Reasons to skip which leave open what the source holds: what was there before may be there still.
_UNREADABLE = "unreadable directory"
_UNREADABLE_FILE = "unreadable file"
_BROKEN = "broken link"
INCOMPLETE = frozenset({_UNREADABLE, _UNREADABLE_FILE, _BROKEN})


def path_of(uri: str) -> Path:
    """Return the path that a `file://` URI names."""
    return Path(unquote(urlsplit(uri).path, errors="surrogateescape"))


def list_files(source: str, skipped: Counter[str]) -> Iterator[SourceFile]:
    """Yield the files that a local path, `file://` URI or glob stands for, sorted by path.

    Raises:
        InvalidInput: it is empty, or does not exist.
    """
    if not source.removeprefix("file://"):
        raise InvalidInput(
            "A source is empty.", advice="Name a file, a directory or a glob; the current directory is `.`."
        )
    # Not Path.expanduser: for a name like ~$report.docx it raises, where this leaves what is no user's as it is.
    path = path_of(source) if source.startswith("file://") else Path(os.path.expanduser(source))  # noqa: PTH111
    # Lexical, so that a root that is itself a link (current -> v7) keeps its name, and with it its documents' ids.
    full = os.path.normpath(path.absolute())
    root, pattern = (full, "") if os.path.lexists(full) else split_glob(full)
    if not Path(root).exists():
        raise InvalidInput(f"{source!r} does not exist.", advice="Check the path; quote globs against the shell.")
    uri = Path(full).as_uri()
    if not Path(root).is_dir():
        return _listed(uri, Path(root).parent, iter([Path(root).name]), skipped)
    paths = (p for p in _walk(root, pattern, skipped) if matches(p, pattern))
    return _listed(uri, Path(root or "/"), _within(root, paths, skipped), skipped)


def _walk(root: str, pattern: str, skipped: Counter[str]) -> Iterator[str]:
    """Yield the files below `root` in those folders in which one could match."""

    def unreadable(_: OSError) -> None:
        skipped[_UNREADABLE] += 1

    for directory, folders, names in os.walk(root or "/", onerror=unreadable):
        if not _can_be_entered(directory):
            skipped[_UNREADABLE] += 1
            folders.clear()
            continue
        below = os.path.relpath(directory, root or "/")
        prefix = "" if below == "." else f"{below}/"
        reached = [name for name in folders if reaches(f"{prefix}{name}", pattern)]
        linked = [name for name in reached if _is_link(Path(directory) / name)]
        hidden = [name for name in reached if name.startswith(".")]
        skipped["linked directory"] += len(linked)
        skipped["hidden"] += len(hidden)
        folders[:] = sorted(set(reached) - set(linked) - set(hidden))
        for name in sorted(names):
            yield f"{prefix}{name}"


def _can_be_entered(directory: str) -> bool:
    """Whether what lies in it can be looked at: the right to list its names alone does not give that."""
    try:
        os.lstat(f"{directory}/.")
    except OSError:
        return False
    return True


def _is_link(file: Path) -> bool:
    # Not Path.is_symlink: of what cannot be looked at it raises, where this leaves it to be told as unreadable.
    return os.path.islink(file)  # noqa: PTH114


def _within(root: str, paths: Iterator[str], skipped: Counter[str]) -> Iterator[str]:
    """Leave out links that lead out of the root: what they name was not offered."""
    real_root = os.path.realpath(root or "/")
    for path in paths:
        file = Path(root) / path
        # Not Path.resolve: of a link to itself it raises, where this leaves it to be told as a broken link.
        if _is_link(file) and not Path(os.path.realpath(file)).is_relative_to(real_root):
            skipped["link out of the source"] += 1
        else:
            yield path


def _listed(source: str, root: Path, paths: Iterator[str], skipped: Counter[str]) -> Iterator[SourceFile]:
    for path in paths:
        reason = why_skipped(path)
        file = root / path
        kind = format_of(path)
        status = None if reason else _status(file)
        if status is None:
            reason = reason or (_BROKEN if _is_link(file) else _UNREADABLE_FILE)
        elif not stat.S_ISREG(status.st_mode):
            reason = "not a regular file"  # a pipe or device would block its reader for ever
        if reason or kind is None or status is None:
            skipped[reason] += 1
            continue
        yield SourceFile(
            source=source,
            uri=file.as_uri(),
            path=path,
            name=f"{root.name}/{path}" if root.name else path,
            format=kind,
            size_bytes=status.st_size,
            modified=status.st_mtime,
            etag=f"{status.st_size}-{status.st_mtime_ns}",
        )


def _status(file: Path) -> os.stat_result | None:
    """None of what is gone, leads nowhere or may not be looked at."""
    try:
        return file.stat()
    except OSError:
        return None
