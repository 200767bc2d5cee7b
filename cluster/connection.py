"""A connection to Ray, for a program that runs beside an installation: to one that is there, or to one of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from cluster.private_ray import init_private, report_nothing
from cluster.ray_token import use_token


@contextmanager
def connection(address: str, namespace: str, private: Mapping[str, object]) -> Iterator[None]:
    """Hold a connection. For the address `local` a Ray is started, as `private` says, and ends with it."""
    use_token()
    if address == "local":
        init_private(namespace=namespace, logging_level="warning", **private)
    else:
        report_nothing()
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level="warning")
    try:
        yield
    finally:
        ray.shutdown()
