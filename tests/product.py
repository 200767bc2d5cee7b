"""A whole running installation for tests, and what tests do with it: keys, clients, processes, waiting for something.

Tests share one installation (`product`); each works under a tenant of its own, so that none sees another's documents.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from cluster import throwaway
from kaizen.config import Settings
from kaizen.config_sources import load_settings
from kaizen.errors import NotFound
from kaizen.records import SCOPES, Impression, Scope
from kaizen.run_state import KEY_FILE, RunState, read_run_state
from kaizen.security.keys import Secret, new_key
from kaizen.storage.spool import SUFFIX
from kaizen.workspace import Workspace, open_workspace

T = TypeVar("T")
_TENANTS = itertools.count(1)
_PAUSE = threading.Event()  # never set: a wait on it is a pause between two looks

SMALL: Mapping[str, Mapping[str, Any]] = {
    "server": {"ingress": "proxy", "replicas": 2, "max_body_bytes": 256 * 1024},
    "fleet": {"shards": 2, "replicas": 1, "hang_seconds": 5.0},
    "index": {"seal_seconds": 2.0},
    "generator": {"max_tokens": 24},
    "ingest": {"batch_chunks": 16, "parse_seconds": 20},
    "learning": {"steward": False},  # it watches promotions, and would take back what tests promote
}


@contextmanager
def meanwhile(act: Callable[[], object], every: float) -> Iterator[None]:
    """Do `act` in a thread, after so many seconds and again after as many, until the block ends."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every):
            act()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def eventually(look: Callable[[], T], seconds: float, what: str) -> T:
    """Look until `look()` gives something true, and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    found: T | None = None
    while time.monotonic() < deadline:
        try:
            found = look()
        except httpx.TransportError:
            found = None
        if found:
            return found
        _PAUSE.wait(0.05)
    raise AssertionError(f"not within {seconds} s: {what}; last seen: {found!r}")


@dataclass(frozen=True, slots=True)
class Product:
    """A running installation with its ledger and object store opened beside it."""

    config: Path
    state: RunState
    key: str
    parts: Workspace

    def client(self, key: str | None = None, seconds: float = 60) -> httpx.Client:
        """An HTTP client with `key`, or with the local key."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.state.url, headers=headers, timeout=seconds, trust_env=False)

    def new_key(self, tenant: str, *, groups: Sequence[str] = (), scopes: Sequence[Scope] = SCOPES) -> str:
        """The secret of a key that was made in the ledger, as `kaizen keys create` does."""
        secret, record = new_key(tenant=tenant, name="test", scopes=scopes, groups=groups)
        self.parts.ledger.keys.add(record)
        return secret.reveal()

    def new_tenant(self) -> tuple[str, httpx.Client]:
        """A tenant that nobody else uses, and a client that may do everything there."""
        tenant = f"tenant-{next(_TENANTS)}"
        return tenant, self.client(self.new_key(tenant))

    def impression(self, tenant: str, name: str) -> Impression:
        """The record of what was shown, once it is there: a response does not wait for it."""

        def found() -> Impression | None:
            try:
                return self.parts.ledger.impressions.get(tenant, name)
            except NotFound:
                return None

        seen = eventually(found, 10, f"{name} is on record")
        assert seen is not None
        return seen

    def wait_until_recorded(self) -> None:
        """Until all that was shown is on record, and no gateway's spool has anything left."""
        folder = self.parts.settings.spool_directory

        def empty() -> bool:
            try:
                return not any(file.stat().st_size for file in folder.glob(f"*{SUFFIX}"))
            except FileNotFoundError:  # one was taken over meanwhile
                return False

        eventually(empty, 30, "all is on record")

    def run(self, module: str, *arguments: str) -> dict[str, Any]:
        """Run a job against it with --json and return what it printed."""
        return throwaway.summary_of(self.installation.run(module, *arguments, "--json"))

    @property
    def installation(self) -> throwaway.Installation:
        """The same as `cluster.throwaway` sees it."""
        return throwaway.Installation(
            config=self.config, workspace=self.directory, state=self.state, key=Secret(self.key)
        )

    @property
    def directory(self) -> Path:
        """Its workspace."""
        return self.parts.settings.workspace.directory

    def status(self) -> dict[str, Any]:
        """GET /v1/status."""
        with self.client() as client:
            answer: dict[str, Any] = client.get("/v1/status").raise_for_status().json()
        return answer

    def shards(self) -> dict[str, dict[str, Any]]:
        """Status of each copy of each shard by its name."""
        found: dict[str, dict[str, Any]] = self.status()["fleet"].get("shards", {})
        return found

    def processes(self, title: str) -> list[psutil.Process]:
        """The installation's living processes whose title begins so (`ray::IndexShard`)."""
        return [process for process in self.tree() if title_of(process).startswith(title)]

    def tree(self) -> list[psutil.Process]:
        """The head and all that it started."""
        head = psutil.Process(self.state.pid)
        return [head, *head.children(recursive=True)]

    def wait_until_ready(self, seconds: float = 120) -> None:
        """Wait until a release and all actors serve."""
        with self.client() as client:
            eventually(lambda: client.get("/readyz").status_code == 200, seconds, "ready")


def title_of(process: psutil.Process) -> str:
    """The command line, where Ray puts what a worker is; empty for a process that has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@contextmanager
def opened(running: throwaway.Installation) -> Iterator[Product]:
    """The product of an installation."""
    parts = open_workspace(load_settings(running.config).settings)
    try:
        product = Product(running.config, running.state, running.key.reveal(), parts)
        product.wait_until_ready()
        yield product
    finally:
        parts.ledger.close()


@contextmanager
def started(config: Path) -> Iterator[Product]:
    """Start the installation of `config`, end it afterwards, keep its workspace."""
    with throwaway.started(config) as running, opened(running) as product:
        yield product


def configure(folder: Path, overrides: Mapping[str, Mapping[str, Any]]) -> Path:
    """A configuration file in `folder`: SMALL changed by `overrides`."""
    sections = {*SMALL, *overrides}
    merged = {name: {**SMALL.get(name, {}), **overrides.get(name, {})} for name in sections}
    return throwaway.write_config(folder, Settings(), merged)


def kill_everything(product: Product) -> None:
    """kill -9 of the head and of all that it started: what a power cut leaves of the processes."""
    tree = product.tree()
    for process in tree:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it followed another one that was killed a moment ago
    psutil.wait_procs(tree, timeout=30)


def installation_at(config: Path) -> throwaway.Installation:
    """What somebody else started (`kaizen up`) with this configuration."""
    workspace = config.parent / "workspace"
    state = read_run_state(workspace)
    assert state is not None
    key = Secret((workspace / KEY_FILE).read_text().strip())
    return throwaway.Installation(config=config, workspace=workspace, state=state, key=key)


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The installation that most tests share."""
    with started(configure(tmp_path_factory.mktemp("shared"), {})) as running:
        yield running
