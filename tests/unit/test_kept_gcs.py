"""The GCS that is started again, on a stand-in for Ray's node whose GCS is a process that sleeps."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from cluster import kept_gcs
from cluster.kept_gcs import PROCESS_TYPE_GCS_SERVER, keep_gcs

SLEEPER = [sys.executable, "-c", "import threading; threading.Event().wait()"]


class Node:
    """Has a GCS, and counts the ones that were started."""

    def __init__(self) -> None:
        self.all_processes: dict[str, list[SimpleNamespace]] = {}
        self.started = threading.Semaphore(0)
        self.refusals: list[OSError] = []
        self.start_gcs_server()

    @property
    def gcs(self) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = self.all_processes[PROCESS_TYPE_GCS_SERVER][0].process
        return process

    def kill_gcs_server(self, check_alive: bool) -> None:
        assert not check_alive and self.gcs.poll() is not None
        del self.all_processes[PROCESS_TYPE_GCS_SERVER]

    def start_gcs_server(self) -> None:
        assert PROCESS_TYPE_GCS_SERVER not in self.all_processes
        if self.refusals:
            raise self.refusals.pop()
        self.all_processes[PROCESS_TYPE_GCS_SERVER] = [SimpleNamespace(process=subprocess.Popen(SLEEPER))]
        self.started.release()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node()
    made.started.acquire()
    monkeypatch.setattr(kept_gcs.worker, "_global_node", made)
    monkeypatch.setattr(kept_gcs, "PAUSE_SECONDS", 0.05)
    return made


@pytest.fixture
def kept(node: Node) -> Callable[[], None]:
    return keep_gcs()


def test_one_that_is_killed_is_followed_by_another_each_time(node: Node, kept: Callable[[], None]) -> None:
    for _ in range(2):
        node.gcs.kill()
        assert node.started.acquire(timeout=20)
    kept()
    node.gcs.kill()
    node.gcs.wait()


def test_what_ended_it_may_stand_in_the_way_of_the_next_one_for_a_while(node: Node, kept: Callable[[], None]) -> None:
    node.refusals += [OSError(errno.ENOMEM, "no memory"), OSError(errno.EAGAIN, "no process")]
    node.gcs.kill()
    assert node.started.acquire(timeout=20)
    assert node.refusals == []
    kept()
    node.gcs.kill()
    node.gcs.wait()


def test_after_the_end_was_announced_none_is_started(node: Node, kept: Callable[[], None]) -> None:
    kept()
    node.gcs.kill()
    node.gcs.wait()
    assert not node.started.acquire(timeout=0.3)
