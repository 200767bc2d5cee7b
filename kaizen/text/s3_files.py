"""Objects of an S3-compatible store as units of work. Credentials come from AWS's usual places."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import s3fs
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # botocore ships no types
from fsspec import AbstractFileSystem

from kaizen.errors import InvalidInput, Unavailable
from kaizen.text.source_file import SourceFile, format_of, matches, split_glob, why_skipped

_BLOCK_BYTES = 4 * 2**20  # read ahead; s3fs's own default of 50 MiB is per open file
_ADVICE = (
    "Check the endpoint, the network, and the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)."
)


def open_file(uri: str, endpoint_url: str) -> BinaryIO:
    """Open an object for reading bytes, seekable; reading may raise Unavailable too.

    Raises:
        OSError: it is gone or may not be read.
        Unavailable: the store does not answer.
    """
    try:
        remote = _filesystem(endpoint_url).open(uri, "rb", block_size=_BLOCK_BYTES, cache_type="readahead")
    except BotoCoreError as error:
        raise Unavailable(f"{uri} does not answer: {error}", advice=_ADVICE) from error
    return cast(BinaryIO, io.BufferedReader(_Object(remote, uri), 2**16))


class _Object(io.RawIOBase):
    """An object of the store, its client's errors put into our terms."""

    def __init__(self, remote: Any, uri: str) -> None:  # noqa: ANN401 (fsspec ships no types)
        self._remote = remote
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._remote.seek(offset, whence))

    def tell(self) -> int:
        return int(self._remote.tell())

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (the base class takes any writable buffer)
        try:
            block = self._remote.read(len(buffer))
        except BotoCoreError as error:
            raise Unavailable(f"{self._uri} does not answer: {error}", advice=_ADVICE) from error
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._remote.close()
        super().close()


def list_files(source: str, endpoint_url: str, skipped: Counter[str]) -> Iterator[SourceFile]:
    """Yield the objects that `s3://bucket/key`, `s3://bucket/prefix` or a glob stands for, sorted by key.

    Raises:
        InvalidInput: the bucket or the prefix does not exist, or may not be read.
        Unavailable: the store does not answer.
    """
    canonical = source.rstrip("/")
    root, pattern = split_glob(canonical.removeprefix("s3://"))
    try:
        found = _find(_filesystem(endpoint_url), root)
    except (FileNotFoundError, PermissionError) as error:
        raise InvalidInput(
            f"{source} cannot be read: {error}", advice="Check the bucket, the prefix and its policy."
        ) from error
    except (BotoCoreError, OSError) as error:
        raise Unavailable(f"{source} does not answer: {error}", advice=_ADVICE) from error
    if root in found:  # an object, not a prefix
        root = root.rpartition("/")[0]
    for key in sorted(found):
        path = key.removeprefix(f"{root}/")
        if matches(path, pattern):
            file = _file(canonical, root, path, found[key], endpoint_url, skipped)
            if file:
                yield file


def _find(filesystem: AbstractFileSystem, root: str) -> dict[str, dict[str, Any]]:
    if "/" in root and filesystem.isfile(root):
        return {root: filesystem.info(root)}
    return cast(dict[str, dict[str, Any]], filesystem.find(root, detail=True))


def _file(
    source: str, root: str, path: str, info: dict[str, Any], endpoint_url: str, skipped: Counter[str]
) -> SourceFile | None:
    reason, kind = why_skipped(path), format_of(path)
    if path.endswith("/") or not path:  # a marker that stands for an empty directory
        return None
    if reason or kind is None:
        skipped[reason] += 1
        return None
    modified = info.get("LastModified")
    return SourceFile(
        source=source,
        uri=f"s3://{root}/{path}",
        path=path,
        name=f"{root.rpartition('/')[2]}/{path}",
        format=kind,
        size_bytes=int(info["size"]),
        modified=modified.timestamp() if modified else None,
        etag=str(info.get("ETag", "")).strip('"'),
        endpoint_url=endpoint_url,
    )


def _filesystem(endpoint_url: str) -> AbstractFileSystem:
    # A cached listing would hide what was uploaded since this process first looked.
    return s3fs.S3FileSystem(
        endpoint_url=endpoint_url or None,
        use_listings_cache=False,
    )
