"""An installation on a Ray cluster that was there before: it takes away what it started there, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster.ingress import free_ports
from cluster.throwaway import environment
from kaizen.errors import Unavailable
from tests.product import configure, started

THEIRS = {"actors": [["others", "fleet"]], "applications": ["theirs"]}


@dataclass(frozen=True, slots=True)
class Others:
    """Somebody else's cluster; see `others_ray`."""

    process: subprocess.Popen[str]
    port: int
    address: str

    def look(self) -> dict[str, Any]:
        """Named actors, and Serve's applications."""
        print("look", file=self.process.stdin, flush=True)
        return heard(self.process)

    def configure(self, folder: Path, replicas: int, namespace: str = "kaizen") -> Path:
        """A configuration for an installation there."""
        folder.mkdir(exist_ok=True)
        sections = {
            "cluster": {"address": self.address, "namespace": namespace},
            "server": {"port": self.port, "replicas": 1},
            "fleet": {"shards": 1, "replicas": replicas},
            "generator": {"kind": "extractive"},
        }
        return configure(folder, sections)


def heard(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said


@pytest.fixture
def others() -> Iterator[Others]:
    port = free_ports(1)[0]
    command = [sys.executable, "-P", "-m", "tests.ray.others_ray", str(port)]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, env={"PYTHONPATH": root, **environment()}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Others(process, port, heard(process)["address"])


def why_it_does_not_start(config: Path) -> str:
    with pytest.raises(Unavailable) as refused, started(config):
        raise AssertionError("it took the place of the first one")
    return str(refused.value)


@pytest.mark.timeout(900)
def test_what_it_started_goes_with_it_and_what_a_killed_head_left_with_the_next(tmp_path: Path, others: Others) -> None:
    with started(others.configure(tmp_path / "one", replicas=1)) as product:
        head = psutil.Process(product.state.pid)
        assert others.look()["applications"] == ["kaizen", "theirs"]
        assert ["kaizen", "fleet"] in others.look()["actors"]
        before = others.look()
        refused = {"kaizen": "Another installation uses the namespace", "second": "Prefix / is being used"}
        configs = [others.configure(tmp_path / name, replicas=1, namespace=name) for name in refused]
        with ThreadPoolExecutor(len(configs)) as pool:
            reasons = list(pool.map(why_it_does_not_start, configs))
        assert [why in reason for why, reason in zip(refused.values(), reasons, strict=True)] == [True] * 2, reasons
        assert others.look() == before
        product.wait_until_ready()
        head.kill()
    assert ["kaizen", "fleet"] in others.look()["actors"]
    with started(others.configure(tmp_path / "one", replicas=2)) as product:  # other settings, which a fleet keeps
        assert len(product.shards()) == 2
        assert httpx.get(f"{product.state.url}/theirs", trust_env=False).text == "theirs"
    assert others.look() == THEIRS
