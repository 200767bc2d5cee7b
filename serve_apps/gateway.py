"""The Serve deployment around the HTTP API."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from kaizen.config import Settings
from serve_apps.api import build_api
from serve_apps.request_cycle import change_cycle
from serve_apps.service import Service

# Serve's own limit lies above ours, so that ours answers first, with a problem that says what to do: also what a rush
# brings while the replica is busy for a moment.
HEADROOM = 512


class Gateway:
    """One replica."""

    def __init__(self, settings: Settings) -> None:
        self._service = Service(settings, lambda: serve.get_replica_context().rank.rank)
        change_cycle(partial(self._service.entrance.around, outermost=True))

    async def check_health(self) -> None:
        """Serve replaces a replica for which this has raised three times in a row."""
        self._service.replacement.check()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_api(self._service)


def gateway_app(settings: Settings) -> Application:
    """The Serve application, to be run at `/`."""
    server = settings.server
    options: dict[str, Any] = {
        "num_replicas": server.replicas,
        "max_ongoing_requests": server.max_ongoing_requests + server.max_queued_requests + HEADROOM,
        "max_queued_requests": server.max_queued_requests + HEADROOM,
        "backpressure_config": BackpressureConfig(status_code=429, retry_after_s=server.retry_after_seconds),
        "ray_actor_options": {"num_cpus": server.replica_cpus},
        "health_check_period_s": 2,
        "health_check_timeout_s": 10,
        "graceful_shutdown_timeout_s": 5,
        # Metrics count requests. Below this level Serve would still make each line of its access log, and drop it.
        "logging_config": LoggingConfig(log_level="WARNING", enable_access_log=False),
    }
    return serve.deployment(**options)(serve.ingress()(Gateway)).bind(settings)
