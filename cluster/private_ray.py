"""Starts a Ray that belongs to one installation and can stand beside others on the machine."""

from __future__ import annotations

import functools
import os
from unittest import mock

import ray
from ray._private import parameter

from cluster.ingress import free_ports
from kaizen.config import Cluster


def start_private_ray(cluster: Cluster) -> ray._private.worker.BaseContext:
    """Start it and connect; it ends with `ray.shutdown()` or with this process."""
    # Ray gives its workers niceness 15: beside any other busy program the gateway and the generator would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # The agent, which starts jobs, listens on a fixed port, and `ray.init` has no argument for it: of two Rays on a
    # machine the second had no agent, and `ray job submit` was refused. None lets the system choose a free port.
    any_port = functools.partial(parameter.RayParams, dashboard_agent_listen_port=None)
    with mock.patch.object(parameter, "RayParams", any_port):
        return ray.init(
            address="local",
            namespace=cluster.namespace,
            num_cpus=cluster.cpus,
            object_store_memory=cluster.object_store_bytes,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=cluster.dashboard_port or free_ports(1)[0],
            log_to_driver=False,
        )
