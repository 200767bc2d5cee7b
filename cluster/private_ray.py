"""Starts a Ray that belongs to one installation and can stand beside others on the machine."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from unittest import mock

import ray
from ray._private import parameter

from cluster.ingress import free_ports
from cluster.kept_gcs import remembering
from cluster.short_paths import short_temporary_folder
from kaizen.config import Cluster

# Arrow's own allocator keeps what a batch took for the next one; the C library's gives it back. A process that had read
# 5,000 chunks as a shard does kept 120 MB instead of 146. Fewer heaps for threads (MALLOC_ARENA_MAX) showed no gain.
# The second is for Serve's processes; the others import it for nothing, in no time. The last two are about what all of
# Ray's processes do while nobody asks anything: each looks for signals a hundred times a second, of which a sixth went
# into statistics for Ray's debug logs, and told Ray every second which tasks it had run; every five must do.
FRUGAL = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "RAY_preload_python_modules": "cluster.without_pandas",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "5000",
}


def start_private_ray(cluster: Cluster, runtime: Path) -> ray._private.worker.BaseContext:
    """Start it and connect; it ends with `ray.shutdown()` or with this process.

    Args:
        runtime: private directory that ends with it, for what its GCS remembers.
    """
    # Ray gives its workers niceness 15: beside any other busy program the gateway and the generator would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for name, value in FRUGAL.items():
        os.environ.setdefault(name, value)
    return init_private(
        namespace=cluster.namespace,
        num_cpus=cluster.cpus,
        object_store_memory=cluster.object_store_bytes,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=cluster.dashboard_port or free_ports(1)[0],
        _system_config=remembering(runtime / "gcs"),
    )


def init_private(**options: object) -> ray._private.worker.BaseContext:
    """`ray.init` of a Ray that ends with this process, and of which nobody outside hears."""
    report_nothing()
    os.environ.setdefault("RAY_TMPDIR", str(short_temporary_folder()))
    # The agent, which starts jobs, listens on a fixed port, and `ray.init` has no argument for it: of two Rays on a
    # machine the second had no agent, and `ray job submit` was refused. None lets the system choose a free port.
    # It has none either for leaving out the process that would ask a cloud for more nodes, and the one that reads logs
    # again and again for drivers that want to print what workers print: none of ours does.
    left_out = {"no_monitor": True, "include_log_monitor": False}
    ours = functools.partial(parameter.RayParams, dashboard_agent_listen_port=None, **left_out)
    with mock.patch.object(parameter, "RayParams", ours):
        return ray.init(address="local", log_to_driver=False, **options)


def report_nothing() -> None:
    """Ray's makers get no reports of how it is used, unless the environment asks for that."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
