"""File systems of a test's own: one whose power can be cut, and a small one that fills up. Both need root."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from shutil import which

import pytest

# Where the image lies: in memory where that is possible, so that what is measured is not the disk below.
_MEMORY = Path("/dev/shm")  # noqa: S108 (only the test's own image, in a folder of its own)
IMAGE_BYTES = 24 * 2**20


@cache
def why_no_mount() -> str:
    """Why no file system can be mounted here; empty when it can."""
    for program in ("mount", "umount", "mkfs.ext4"):
        if which(program) is None:
            return f"{program} is not installed (apt-get install mount e2fsprogs)"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        _make(image)
        try:
            with mounted(image, Path(folder) / "mounted"):
                return ""
        except subprocess.CalledProcessError as error:
            return f"this user may not mount a file system: {error.stderr.strip()}"


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """The ext4 of an image, mounted for the block."""
    yield from _mounted(["-t", "ext4", "-o", "loop", str(image)], at)


@contextmanager
def memory_disk(at: Path, size_bytes: int) -> Iterator[Path]:
    """A file system in memory of this size; skips where it cannot be mounted."""
    _skip_without_mount()
    yield from _mounted(["-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs"], at)


@contextmanager
def power_disk(at: Path) -> Iterator[PowerDisk]:
    """A small ext4, mounted at `at`, whose power can be cut; skips where it cannot be mounted."""
    _skip_without_mount()
    parent = _MEMORY if _MEMORY.is_dir() else at.parent
    with tempfile.TemporaryDirectory(prefix="kaizen-power-", dir=parent) as folder:
        image = Path(folder) / "image"
        _make(image)
        with mounted(image, at) as path:
            yield PowerDisk(image, path)


class PowerDisk:
    """What is written to `path` reaches the image when the kernel writes it there, as it would reach a disk."""

    def __init__(self, image: Path, path: Path) -> None:
        self.path = path
        self._image = image

    @contextmanager
    def cut(self, at: Path) -> Iterator[Path]:
        """What a power cut of this moment leaves, mounted at `at`: the journal is replayed as after a crash.

        Nobody may write meanwhile: a copy that takes milliseconds would otherwise be of no single moment.
        """
        left = self._image.with_name("left")
        left.write_bytes(self._moment())
        try:
            with mounted(left, at) as path:
                yield path
        finally:
            left.unlink()

    def _moment(self) -> bytes:
        """Two looks that agree: the kernel's own writing of a moment ago has ended."""
        before, now = b"", self._image.read_bytes()
        while before != now:
            before, now = now, self._image.read_bytes()
        return now


def _skip_without_mount() -> None:
    if why_no_mount():
        pytest.skip(why_no_mount())


def _program(name: str) -> str:
    return which(name) or name


def _make(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run([_program("mkfs.ext4"), "-q", "-F", str(image)], check=True, capture_output=True, text=True)


def _mounted(options: list[str], at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    subprocess.run([_program("mount"), *options, str(at)], check=True, capture_output=True, text=True)
    try:
        yield at
    finally:
        subprocess.run([_program("umount"), "--lazy", str(at)], check=True)  # maps of its files may still be open
