"""The Ray cluster that a job runs on: the one it was submitted to, the installation's, or one of its own."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from cluster.connection import connection
from kaizen.config import Settings
from kaizen.run_state import head_process, read_run_state


def connected(settings: Settings) -> AbstractContextManager[None]:
    """Hold a connection; a Ray that had to be started for the job ends with it."""
    cluster = settings.cluster
    private = {
        "num_cpus": cluster.cpus,
        "object_store_memory": cluster.object_store_bytes,
        "include_dashboard": False,
    }
    return connection(_address(settings), cluster.namespace, private)


def _address(settings: Settings) -> str:
    """Under `ray job submit` Ray names its cluster; else the running installation's, else the configured one."""
    if "RAY_ADDRESS" in os.environ:
        return os.environ["RAY_ADDRESS"]
    state = read_run_state(settings.workspace.directory)
    if state is not None and head_process(state) is not None:
        return state.ray_address
    return settings.cluster.address
