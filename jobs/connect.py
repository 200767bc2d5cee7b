"""The Ray cluster that a job runs on: the one it was submitted to, the installation's, or one of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from actors.ray_token import use_token
from kaizen.config import Settings
from kaizen.run_state import head_process, read_run_state


@contextmanager
def connected(settings: Settings) -> Iterator[None]:
    """Hold a connection; a Ray that had to be started for the job ends with it."""
    use_token()
    ray.init(
        address=_address(settings),
        namespace=settings.cluster.namespace,
        log_to_driver=False,
        logging_level="warning",
        **_private_options(settings),
    )
    try:
        yield
    finally:
        ray.shutdown()


def _address(settings: Settings) -> str:
    """Under `ray job submit` Ray names its cluster; else the running installation's, else the configured one."""
    if "RAY_ADDRESS" in os.environ:
        return os.environ["RAY_ADDRESS"]
    state = read_run_state(settings.workspace.directory)
    if state is not None and head_process(state) is not None:
        return state.ray_address
    return settings.cluster.address


def _private_options(settings: Settings) -> dict[str, object]:
    if _address(settings) != "local":
        return {}
    cluster = settings.cluster
    return {
        "num_cpus": cluster.cpus,
        "object_store_memory": cluster.object_store_bytes,
        "include_dashboard": False,
    }
