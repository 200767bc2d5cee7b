"""A Ray cluster of two nodes on this machine, which ends with whoever started it.

    python -m tests.chaos.two_nodes

prints a JSON line when it is there, and another when the second node was lost with all that ran on it: that happens at
the line `lose` of standard input, whose end ends it all.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import psutil

from cluster.ingress import ingress_environment
from cluster.ray_token import use_token
from kaizen.config import Server

CPUS = 1


def main() -> int:
    """Run as a command; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="kaizen-nodes-") as runtime:
        os.environ.update(ingress_environment(Server(ingress="proxy"), Path(runtime)))
        os.environ.setdefault("RAY_worker_niceness", "0")
        use_token()
        from ray.cluster_utils import Cluster  # reads the environment when it is imported

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS})
        node = cluster.add_node(num_cpus=CPUS)
        _say(cluster.address, _raylet(node))
        if sys.stdin.readline().strip() == "lose":
            _lose(node)
            cluster.remove_node(node, allow_graceful=False)
            _say(cluster.address, 0)
            sys.stdin.read()
        cluster.shutdown()
    return 0


def _raylet(node: object) -> int:
    return int(node.all_processes["raylet"][0].process.pid)  # type: ignore[attr-defined]


def _lose(node: object) -> None:
    """All at once, as when the machine is gone."""
    raylet = psutil.Process(_raylet(node))
    for process in [raylet, *raylet.children(recursive=True)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it followed its parent


def _say(address: str, raylet: int) -> None:
    print(json.dumps({"address": address, "raylet": raylet}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
