"""The Ray cluster that training runs on: the one it was submitted to, the configured one, or a private one.

Beside an installation on one machine it is a private one, in which workers are nice to everybody else: what serves
has neither to share its Ray's CPUs with training nor to wait for it, and ends no training when it ends.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from cluster.connection import connection
from kaizen.config import Settings

_OBJECTS_BYTES = 100 * 2**20  # data and models go through files; this is for messages
_HOOK = {"worker_process_setup_hook": "kaizen.fate.end_with_raylet"}


def connected(settings: Settings, workers: int) -> AbstractContextManager[None]:
    """Hold a connection; a Ray that had to be started ends with it, or with this process."""
    cpus = settings.cluster.cpus or len(os.sched_getaffinity(0))
    private = {
        "num_cpus": max(workers, cpus),
        "object_store_memory": _OBJECTS_BYTES,
        "include_dashboard": False,
        "runtime_env": _HOOK,
        "_system_config": {"prestart_worker_first_driver": False},  # those would be without the hook, and unused
    }
    address = os.environ.get("RAY_ADDRESS", settings.cluster.address)
    if address == "local":  # who takes away its one node takes away all: Ray Train needs no process that looks for that
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    return connection(address, f"{settings.cluster.namespace}-train", private)
