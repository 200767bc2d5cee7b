"""The Ray cluster that training runs on: the one it was submitted to, the configured one, or a private one.

Beside an installation on one machine it is a private one, in which workers are nice to everybody else: what serves
has neither to share its Ray's CPUs with training nor to wait for it, and ends no training when it ends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.authentication import authentication_token_setup as token

from kaizen.config import Settings

_OBJECTS_BYTES = 100 * 2**20  # data and models go through files; this is for messages


@contextmanager
def connected(settings: Settings, workers: int) -> Iterator[None]:
    """Hold a connection; a Ray that had to be started ends with it, or with this process."""
    # Whoever has the token may run code, so Ray asks for it. It warns that it could read it.
    logging.getLogger(token.__name__).setLevel(logging.ERROR)
    token.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    address = os.environ.get("RAY_ADDRESS", settings.cluster.address)
    ray.init(
        address=address,
        namespace=f"{settings.cluster.namespace}-train",
        log_to_driver=False,
        logging_level="warning",
        **(_private(settings, workers) if address == "local" else {}),
    )
    try:
        yield
    finally:
        ray.shutdown()


def _private(settings: Settings, workers: int) -> dict[str, object]:
    cpus = settings.cluster.cpus or len(os.sched_getaffinity(0))
    return {
        "num_cpus": max(workers, cpus),
        "object_store_memory": _OBJECTS_BYTES,
        "include_dashboard": False,
    }
