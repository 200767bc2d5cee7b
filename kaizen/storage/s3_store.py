"""The object store at an S3-compatible service.

S3 has no rename, so a directory comes to life with its manifest, which is uploaded last and with a condition
that it does not exist: files without a manifest are nothing. Single objects are replaced atomically by S3 itself.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaizen.errors import ConfigError, Conflict, Corrupt, NotFound, Unavailable
from kaizen.storage import durable
from kaizen.storage.manifest import MANIFEST_FILE, Manifest
from kaizen.storage.names import POINTER_SUFFIX, check_name, decode_pointer, encode_pointer
from kaizen.storage.scratch import Scratch

_CLIENT = {"connect_timeout": 5, "read_timeout": 60, "retries": {"mode": "standard", "max_attempts": 3}}  # seconds


class S3Store:
    """See `ObjectStore`. Of two who put different content under one name at once, one gets Conflict, and what
    they left may be Corrupt when fetched: names must be unique to their maker, as the ledger's are."""

    def __init__(self, location: str, endpoint_url: str) -> None:
        """`location` is `bucket/prefix`."""
        self._location = location
        self._endpoint_url = endpoint_url
        self._files = _file_system(endpoint_url)
        self._scratch: Scratch | None = None
        self._making_scratch = threading.Lock()

    def __reduce__(self) -> tuple[type[S3Store], tuple[str, str]]:
        return S3Store, (self._location, self._endpoint_url)

    @property
    def uri(self) -> str:
        return f"s3://{self._location}"

    def put_directory(self, name: str, source_dir: Path) -> Manifest:
        target = self._key(name)
        manifest = Manifest.of(source_dir)
        with _faults(name):
            if self._files.exists(f"{target}/{MANIFEST_FILE}"):
                return self._settle(name, manifest)
            for file in manifest.files:
                self._files.put_file(str(source_dir / file.path), f"{target}/{file.path}")
            try:
                self._files.pipe_file(f"{target}/{MANIFEST_FILE}", manifest.encode(), mode="create")
            except FileExistsError:
                return self._settle(name, manifest)
        return manifest

    def fetch_directory(self, name: str, to: Path | None = None) -> Path:
        manifest = self.manifest(name)
        target = to or self._scratch_directory() / name
        if _is_there(target, manifest, name):
            return target
        with durable.disk_faults(repr(name)):
            durable.make_directories(target.parent)
            self._download(name, manifest, target)
        return target

    @contextmanager
    def borrow_directory(self, name: str) -> Iterator[Path]:
        borrowed = self._scratch_directory() / uuid.uuid4().hex
        try:
            yield self.fetch_directory(name, borrowed)
        finally:
            shutil.rmtree(borrowed, ignore_errors=True)

    def manifest(self, name: str) -> Manifest:
        return Manifest.decode(self._read(f"{self._key(name)}/{MANIFEST_FILE}", name), name)

    def read_pointer(self, name: str) -> str | None:
        try:
            return decode_pointer(self._read(self._key(name) + POINTER_SUFFIX, name), name)
        except NotFound:
            return None

    def write_pointer(self, name: str, value: str) -> None:
        with _faults(name):
            self._files.pipe_file(self._key(name) + POINTER_SUFFIX, encode_pointer(value))

    def put_bytes(self, name: str, data: bytes) -> None:
        with _faults(name):
            self._files.pipe_file(self._key(name), data)

    def get_bytes(self, name: str) -> bytes:
        return self._read(self._key(name), name)

    def list(self, prefix: str = "") -> list[str]:
        prefix = prefix.rstrip("/")
        with _faults(prefix):
            found = [self._name(key) for key in self._files.find(self._key(prefix) if prefix else self._location)]
        whole = {name.removesuffix(f"/{MANIFEST_FILE}") for name in found if name.endswith(f"/{MANIFEST_FILE}")}
        blobs = {n for n in found if not n.endswith(POINTER_SUFFIX) and not _is_under(n, whole)}
        return sorted(whole | blobs)

    def delete(self, name: str) -> None:
        key = self._key(name)
        with _faults(name):
            inside = self._files.find(key) if self._files.exists(f"{key}/{MANIFEST_FILE}") else []
            # The manifest goes first: from then on the directory does not exist.
            for path in [f"{key}/{MANIFEST_FILE}", *inside, key, key + POINTER_SUFFIX]:
                self._remove(path)

    def _remove(self, key: str) -> None:
        if self._files.isfile(key):
            self._files.rm_file(key)

    def _key(self, name: str) -> str:
        return f"{self._location}/{check_name(name)}"

    def _name(self, key: str) -> str:
        return key.removeprefix(f"{self._location}/")

    def _read(self, key: str, name: str) -> bytes:
        with _faults(name):
            try:
                data: bytes = self._files.cat_file(key)
            except FileNotFoundError:
                raise NotFound(f"There is no object {name!r}.", advice="Check its name.") from None
            return data

    def _settle(self, name: str, manifest: Manifest) -> Manifest:
        if self.manifest(name) != manifest:
            raise Conflict(f"{name!r} already holds other content.", advice="Objects never change: use a new name.")
        return manifest

    def _download(self, name: str, manifest: Manifest, target: Path) -> None:
        """Fetch beside `target`, verify, then rename: a torn download is never taken for the directory."""
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            for file in manifest.files:
                (beside / file.path).parent.mkdir(parents=True, exist_ok=True)
                self._fetch_file(name, file.path, beside / file.path)
            beside.mkdir(exist_ok=True)
            manifest.verify(beside, name)
            if not _is_there(target, manifest, name):  # another process may have been quicker
                shutil.rmtree(target, ignore_errors=True)
                beside.rename(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _fetch_file(self, name: str, path: str, to: Path) -> None:
        with _faults(name):
            try:
                self._files.get_file(f"{self._key(name)}/{path}", str(to))
            except FileNotFoundError:
                raise Corrupt(f"{name!r} lacks the file {path!r}.", advice="Build it again.") from None

    def _scratch_directory(self) -> Path:
        with self._making_scratch:
            if self._scratch is None:
                self._scratch = Scratch()
            return self._scratch.path


def _file_system(endpoint_url: str) -> Any:  # noqa: ANN401 - s3fs has no types
    import s3fs

    return s3fs.S3FileSystem(
        endpoint_url=endpoint_url or None,
        use_listings_cache=False,  # other processes write as well
        skip_instance_cache=True,
        config_kwargs=_CLIENT,
    )


def _is_there(target: Path, manifest: Manifest, name: str) -> bool:
    try:
        manifest.verify(target, name)
    except Corrupt:
        return False
    return target.is_dir()


def _is_under(name: str, directories: set[str]) -> bool:
    parts = name.split("/")
    return any("/".join(parts[:depth]) in directories for depth in range(1, len(parts)))


@contextmanager
def _faults(name: str) -> Iterator[None]:
    """Turn what the service may answer into our errors."""
    from botocore.exceptions import BotoCoreError, NoCredentialsError  # type: ignore[import-untyped]

    try:
        yield
    except (PermissionError, NoCredentialsError) as error:
        raise ConfigError(
            f"The object store refuses access to {name!r}.", advice="Check AWS_ACCESS_KEY_ID and the bucket's policy."
        ) from error
    except FileNotFoundError as error:
        raise ConfigError("The object store's bucket does not exist.", advice="Create it first.") from error
    except (BotoCoreError, OSError) as error:
        raise Unavailable(
            f"The object store does not answer for {name!r}.", advice="Check objects.endpoint_url and the network."
        ) from error
