"""The object store in a local directory (or on a file system that all nodes mount).

A directory is built under `.incoming`, synced, given its manifest, and renamed into place: whatever a crash
leaves lies in `.incoming`, where the next writer clears it away. An unfinished directory is locked by its writer,
and the kernel drops the lock with the process, so a living writer's work is never taken for rubbish.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaizen.errors import Conflict, NotFound
from kaizen.storage import durable
from kaizen.storage.manifest import MANIFEST_FILE, Manifest
from kaizen.storage.names import POINTER_SUFFIX, check_name, decode_pointer, encode_pointer

_INCOMING = ".incoming"


class LocalStore:
    """See `ObjectStore`."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        with durable.disk_faults("the object store's directory"):
            durable.make_directories(self._root / _INCOMING)

    @property
    def uri(self) -> str:
        return str(self._root)

    def put_directory(self, name: str, source_dir: Path) -> Manifest:
        target = self._root / check_name(name)
        manifest = Manifest.of(source_dir)
        with durable.disk_faults(repr(name)):
            if target.exists():
                return self._settle(name, manifest)
            self._clear_rubbish()
            with self._staging() as staging:
                self._fill(staging, source_dir, manifest)
                durable.make_directories(target.parent)
                if not _rename(staging, target):
                    return self._settle(name, manifest)
            durable.sync_directory(target.parent)
        return manifest

    def fetch_directory(self, name: str, to: Path | None = None) -> Path:
        manifest = self.manifest(name)
        with durable.read_faults(repr(name)):
            manifest.verify(self._root / name, name)
        return self._root / name

    @contextmanager
    def borrow_directory(self, name: str) -> Iterator[Path]:
        yield self.fetch_directory(name)

    def manifest(self, name: str) -> Manifest:
        directory = self._root / check_name(name)
        with durable.read_faults(repr(name)):
            return Manifest.decode(_read(directory / MANIFEST_FILE, name), name)

    def read_pointer(self, name: str) -> str | None:
        path = self._pointer(name)
        try:
            with durable.read_faults(f"the pointer {name!r}"):
                return decode_pointer(_read(path, name), name)
        except NotFound:
            return None

    def write_pointer(self, name: str, value: str) -> None:
        self._replace(self._pointer(name), encode_pointer(value), name)

    def put_bytes(self, name: str, data: bytes) -> None:
        self._replace(self._root / check_name(name), data, name)

    def get_bytes(self, name: str) -> bytes:
        path = self._root / check_name(name)
        with durable.read_faults(repr(name)):
            return _read(path, name)

    def list(self, prefix: str = "") -> list[str]:
        top = self._root / check_name(prefix.rstrip("/")) if prefix.rstrip("/") else self._root
        if top.is_file():
            return [prefix]
        return sorted(path.relative_to(self._root).as_posix() for path in _objects(top))

    def delete(self, name: str) -> None:
        path = self._root / check_name(name)
        with durable.disk_faults(repr(name)):
            self._pointer(name).unlink(missing_ok=True)
            if path.is_file():
                path.unlink()
            elif (path / MANIFEST_FILE).exists():
                self._take_away(path)
            if path.parent.is_dir():
                durable.sync_directory(path.parent)

    def _pointer(self, name: str) -> Path:
        return self._root / (check_name(name) + POINTER_SUFFIX)

    def _replace(self, path: Path, data: bytes, name: str) -> None:
        with durable.disk_faults(repr(name)):
            durable.make_directories(path.parent)
            durable.replace(path, data)

    def _settle(self, name: str, manifest: Manifest) -> Manifest:
        """Somebody was here before: fine if with the same content."""
        try:
            same = self.manifest(name) == manifest
        except NotFound:
            same = False  # a blob, or a folder of other objects
        if not same:
            raise Conflict(f"{name!r} already holds other content.", advice="Objects never change: use a new name.")
        return manifest

    @staticmethod
    def _fill(staging: Path, source: Path, manifest: Manifest) -> None:
        """Copy and sync the files, then write the manifest, then sync the names of all."""
        for file in manifest.files:
            (staging / file.path).parent.mkdir(parents=True, exist_ok=True)
            durable.copy_new(source / file.path, staging / file.path)
        manifest.verify(staging, source.name)  # the source may have changed since it was summed up
        for folder in {folder for file in manifest.files for folder in (staging / file.path).parents}:
            if folder.is_relative_to(staging):
                durable.sync_directory(folder)
        durable.write_new(staging / MANIFEST_FILE, manifest.encode())
        durable.sync_directory(staging)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A fresh, locked directory under `.incoming`, removed at the end unless it was renamed away."""
        while True:
            staging = self._root / _INCOMING / uuid.uuid4().hex
            staging.mkdir()
            with durable.locked(staging) as locked:
                if not locked:  # somebody who clears rubbish was quicker than our lock
                    continue
                try:
                    yield staging
                finally:
                    shutil.rmtree(staging, ignore_errors=True)
                return

    def _take_away(self, directory: Path) -> None:
        """Out of sight at once, and as rubbish: a full disk has no room for a directory to put it into."""
        rubbish = self._root / _INCOMING / uuid.uuid4().hex
        directory.rename(rubbish)
        shutil.rmtree(rubbish, ignore_errors=True)

    def _clear_rubbish(self) -> None:
        """Remove what writers that died have left."""
        for staging in (self._root / _INCOMING).iterdir():
            with durable.locked(staging) as locked:
                if locked:
                    shutil.rmtree(staging, ignore_errors=True)


def _rename(staging: Path, target: Path) -> bool:
    """Rename a directory into place; False when something is there already."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        raise
    return True


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise NotFound(f"There is no object {name!r}.", advice="Check its name.") from None


def _objects(top: Path) -> Iterator[Path]:
    """Walk down to directories with a manifest, and blobs. What vanishes meanwhile is passed over."""
    for folder, folders, files in os.walk(top):
        if MANIFEST_FILE in files:
            folders.clear()
            yield Path(folder)
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, f) for f in files if not f.startswith(".") and not f.endswith(POINTER_SUFFIX))
