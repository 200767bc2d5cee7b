"""The object store: immutable directories, small blobs and atomic pointers, at a URI."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from kaizen.errors import ConfigError, Corrupt, NotFound
from kaizen.storage.manifest import Manifest


@runtime_checkable
class ObjectStore(Protocol):
    """Where everything large lies. Names are relative paths with `/`; see `names.check_name`.

    All verbs raise Unavailable when the store does not answer, and those that write StorageFull when it is full.
    A store may be used from many threads, and pickles.
    """

    @property
    def uri(self) -> str:
        """The URI that `open_store` opens again."""
        ...

    def put_directory(self, name: str, source_dir: Path) -> Manifest:
        """Store a directory's files under `name` for good. It exists whole or not at all, also after a crash.

        Raises:
            Conflict: other content already lies there. (The same content is no error and costs only its hashing.)
            InvalidInput: the name cannot be used, or the source is no directory.
        """
        ...

    def fetch_directory(self, name: str, to: Path | None = None) -> Path:
        """Return a local directory that holds the files, every one verified against its sum.

        A local store returns its own directory, which must not be changed. A remote one downloads to `to`
        (reusing what is there if it verifies), or without `to` to a directory that lives as long as the store.

        Raises:
            NotFound: there is no such directory; one without a manifest does not exist.
            Corrupt: a file is missing, torn, changed or unreadable, or the manifest is.
        """
        ...

    def borrow_directory(self, name: str) -> AbstractContextManager[Path]:
        """As `fetch_directory`, for the block only: what a remote store has downloaded is gone after it.

        Files that were mapped meanwhile can be read on: the disk has their room back when they are mapped no more.
        """
        ...

    def manifest(self, name: str) -> Manifest:
        """Return a directory's manifest without reading the files; NotFound or Corrupt as in `fetch_directory`."""
        ...

    def read_pointer(self, name: str) -> str | None:
        """Return what was last written to a pointer, None when nothing ever was; Corrupt when it was damaged."""
        ...

    def write_pointer(self, name: str, value: str) -> None:
        """Set a pointer durably and in one step: a reader sees the old value or the new one."""
        ...

    def put_bytes(self, name: str, data: bytes) -> None:
        """Store a blob durably, replacing in one step what is there. It has no checksum: small raw things only."""
        ...

    def get_bytes(self, name: str) -> bytes:
        """Return a blob; NotFound when there is none."""
        ...

    def list(self, prefix: str = "") -> list[str]:
        """Return the names of all directories and blobs at or below the folder `prefix`, sorted; no pointers."""
        ...

    def delete(self, name: str) -> None:
        """Delete a directory, blob or pointer of this name; a directory stops existing in one step."""
        ...


def holds(store: ObjectStore, name: str) -> bool:
    """Whether there is a directory of this name. Raises Corrupt when its manifest is torn or changed."""
    try:
        store.manifest(name)
    except NotFound:
        return False
    return True


def is_lost(store: ObjectStore, name: str) -> bool:
    """Whether there is no directory of this name. One that is damaged is there: whoever opens it is told."""
    try:
        return not holds(store, name)
    except Corrupt:
        return False


def open_store(uri: str, endpoint_url: str = "") -> ObjectStore:
    """Open the object store at a local path, `file://` or `s3://bucket/prefix`, creating a local directory.

    Args:
        uri: where it is.
        endpoint_url: of an S3-compatible service that is not AWS. Credentials come from the environment
            (AWS_ACCESS_KEY_ID and so on), never from configuration.

    Raises:
        ConfigError: the URI cannot be used.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        from kaizen.storage.local_store import LocalStore

        return LocalStore(Path(rest if separator else uri))
    if scheme == "s3" and rest.strip("/"):
        from kaizen.storage.s3_store import S3Store

        return S3Store(rest.strip("/"), endpoint_url)
    raise ConfigError(
        f"objects.uri has the scheme {scheme!r}, or no bucket.", advice="Use a local path or s3://bucket/prefix."
    )
