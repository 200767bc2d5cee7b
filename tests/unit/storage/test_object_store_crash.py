"""A local put_directory that is killed, or refused, at every one of its steps: there is nothing, or all of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen.errors import NotFound
from kaizen.storage.local_store import LocalStore
from kaizen.storage.manifest import Manifest

ROOT = Path(__file__).parents[3]
PUT = """
import sys
from pathlib import Path
from kaizen.errors import KaizenError
from kaizen.storage.local_store import LocalStore
try:
    LocalStore(Path(sys.argv[1])).put_directory("segments/a", Path(sys.argv[2]))
except KaizenError as error:
    sys.exit(error.code)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "deep").mkdir(parents=True)
    (tmp_path / "source" / "deep" / "index.faiss").write_bytes(b"\1\2" * 5000)
    (tmp_path / "source" / "chunks.arrow").write_bytes(b"abc")
    return tmp_path / "source"


@pytest.fixture(scope="module", autouse=True)
def _strace_works() -> None:
    program = shutil.which("strace")
    if program is None or subprocess.run([program, "-o", os.devnull, "true"], capture_output=True).returncode:
        pytest.skip("strace is not here or may not trace")


def _put(objects: Path, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Put in a process of its own under strace, which writes `<objects>.log`.

    -S: a local store needs the standard library only, and each call that Python makes to start is stopped at.
    """
    strace = ["strace", "-f", "-y", "-o", f"{objects}.log", *options]
    command = [*strace, sys.executable, "-S", "-B", "-c", PUT, str(objects), str(source)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def _attempts(tmp_path: Path, source: Path, call: str, fault: str, *options: str) -> Iterator[tuple[Path, str]]:
    """Put into an empty store with `fault` at the first, second, ... `call`, until one comes too late to matter.

    Yields the store's directory and how the put ended: the code of its error, or "" when it was killed.
    """
    for step in range(1, 100):
        objects = tmp_path / f"objects-{step}"
        result = _put(objects, source, *options, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={step}")
        if result.returncode == 0:
            return
        yield objects, result.stderr.strip()
    raise AssertionError("the put never came to its end")


def _check_nothing_or_all(objects: Path, source: Path) -> None:
    """Check what a reader finds, that the next put succeeds, and that it clears the rubbish away."""
    store = LocalStore(objects)
    if store.list() == ["segments/a"]:
        store.fetch_directory("segments/a")
        assert store.manifest("segments/a") == Manifest.of(source)
    else:
        assert store.list() == []
        with pytest.raises(NotFound):
            store.fetch_directory("segments/a")
    store.put_directory("segments/a", source)
    store.put_directory("segments/b", source)
    assert store.list() == ["segments/a", "segments/b"]
    assert (store.fetch_directory("segments/a") / "chunks.arrow").read_bytes() == b"abc"
    assert list((objects / ".incoming").iterdir()) == []


@pytest.mark.parametrize(("call", "least"), [("mkdir", 5), ("write", 3), ("fsync", 8), ("rename", 1)])
def test_killed_at_any_step(tmp_path: Path, source: Path, call: str, least: int) -> None:
    attempts = list(_attempts(tmp_path, source, call, "signal=KILL"))
    assert {ending for _objects, ending in attempts} == {""}
    assert len(attempts) >= least
    for objects, _ending in attempts:
        _check_nothing_or_all(objects, source)


@pytest.mark.parametrize(
    ("call", "error", "code", "least"),
    [("fsync", "EIO", "unavailable", 8), ("write", "ENOSPC", "storage-full", 3), ("rename", "EIO", "unavailable", 1)],
)
def test_refused_by_the_disk_at_any_step(
    tmp_path: Path, source: Path, call: str, error: str, code: str, least: int
) -> None:
    # It stops at these calls only, which quickens; strace can't send a signal like that.
    attempts = list(_attempts(tmp_path, source, call, f"error={error}", "--seccomp-bpf"))
    assert {ending for _objects, ending in attempts} == {code}
    assert len(attempts) >= least
    for objects, _ending in attempts:
        _check_nothing_or_all(objects, source)


def test_everything_is_synced_before_it_can_be_seen(tmp_path: Path, source: Path) -> None:
    objects = tmp_path / "objects"
    LocalStore(objects)
    assert _put(objects, source, "--seccomp-bpf", "-e", "trace=fsync,rename").returncode == 0
    log = (tmp_path / "objects.log").read_text()
    steps = re.findall(r"(fsync|rename)\((?:\d+<|\")([^>\"]*)", re.sub(rf"{objects}(/.incoming/\w{{32}})?", "@", log))
    files = [("fsync", "@/chunks.arrow"), ("fsync", "@/deep/index.faiss")]
    folders = [("fsync", "@"), ("fsync", "@/deep")]
    manifest = [("fsync", "@/sha256.json"), ("fsync", "@")]
    assert sorted(steps[:4]) == sorted([*files, *folders])
    assert steps[4:] == [*manifest, ("fsync", "@"), ("rename", "@"), ("fsync", "@/segments")]
