"""How the fleet's actor ends one that hangs, with a real process and without Ray."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from actors import fleet as fleet_module
from actors.embedder import DOCUMENTS, Embedder
from actors.fleet import Fleet
from actors.index_shard import IndexShard
from kaizen.config import Settings
from kaizen.errors import StorageFull, WriterStopped

NAME = "generator-1"


@pytest.fixture
def hung() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is stopped."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """On the node `here`; what it last heard of its actors plays no part."""
    made = object.__new__(Fleet)
    made._here, made._pings, made._states, made._heard = "here", {}, {NAME: "serving"}, {}
    monkeypatch.setattr(Fleet, "_handle", lambda *_: Mock())
    return made


def told(monkeypatch: pytest.MonkeyPatch, state: str, node: str, pid: int) -> None:
    row: dict[str, Any] = {"State": state, "Address": {"NodeID": node}, "Pid": pid}
    monkeypatch.setattr(fleet_module, "actor_table", lambda _: row)


def test_the_process_that_ray_has_now_is_killed(
    fleet: Fleet, hung: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, "ALIVE", "here", hung.pid)
    fleet._replace(NAME, 9.0)
    assert hung.wait(10) == -signal.SIGKILL
    assert fleet._states[NAME] == "restarting"


def test_one_that_has_ended_meanwhile_is_no_trouble(
    fleet: Fleet, hung: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hung.kill()
    hung.wait()
    told(monkeypatch, "ALIVE", "here", hung.pid)
    fleet._replace(NAME, 9.0)
    assert fleet._states[NAME] == "restarting"


@pytest.mark.parametrize(("state", "node"), [("RESTARTING", "here"), ("ALIVE", "there")])
def test_a_number_that_may_be_of_another_process_is_left_alone(
    fleet: Fleet, hung: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, state: str, node: str
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(fleet_module.ray, "kill", lambda _, no_restart: asked.append(no_restart))
    told(monkeypatch, state, node, hung.pid)
    fleet._replace(NAME, 9.0)
    assert asked == [False]
    assert hung.poll() is None


def test_documents_do_not_hold_the_threads_that_embed_queries(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen copies of shards may wait with documents; an actor has eight threads."""
    groups: list[dict[str, int]] = []
    monkeypatch.setattr(
        fleet_module.ray, "remote", lambda concurrency_groups: groups.append(concurrency_groups) or Mock()
    )
    fleet._settings, fleet._namespace = Settings(), "kaizen"
    for kind in (Embedder, IndexShard):
        fleet._start("actor-1", kind)
    assert Embedder.prepare.__ray_concurrency_group__ == DOCUMENTS
    assert groups == [{"control": 2, DOCUMENTS: 1}, {"control": 2}]


def test_a_full_disk_is_collected_again_and_a_writer_that_has_stopped_ends_the_process(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet._settings = Settings.model_validate({"collect": {"every_hours": 1e-6}})
    fleet._workspace = Mock()
    collect = Mock(side_effect=[StorageFull("No room."), WriterStopped("A sync failed.")])
    monkeypatch.setattr(fleet_module, "collect", collect)
    with pytest.raises(WriterStopped):
        fleet._collect()  # what it raises ends the process: see `run_in_background`
    assert collect.call_count == 2
