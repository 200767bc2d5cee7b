"""HAProxy is started again by the actor that started it, as soon as its process has ended.

Serve looks at it every half second, and after three looks replaces the actor, too: nobody was let in for 3.6 seconds
of a quiet machine and for over five of a busy one. An actor that Serve has replaced leaves it to Serve again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import ray
from ray.serve.context import _get_global_client

log = logging.getLogger("ray.serve")


def keep_haproxy() -> None:
    """Tell the actors of this cluster that start HAProxy.

    Nobody waits for it: one that does not hear it is one of which Serve looks after HAProxy alone.
    """
    for actor in ray.get(_get_global_client()._controller.get_proxies.remote()).values():
        actor.__ray_call__.remote(_keep)


def _keep(actor: Any) -> None:  # noqa: ANN401 (Serve's HAProxyManager, whose name is no class)
    """In the actor's process. Serve's own proxy, which is there for a fallback, has no HAProxy."""
    if hasattr(actor, "_haproxy"):
        actor.keeping = asyncio.run_coroutine_threadsafe(kept(actor), actor.event_loop)  # held, or it might vanish


async def kept(manager: Any) -> None:  # noqa: ANN401
    """Start it again whenever it has ended, until it is stopped, or does not start: then it is Serve's turn."""
    haproxy = manager._haproxy
    while (process := haproxy._proc) is not None:
        await process.wait()
        async with manager._reload_lock:  # who changes its configuration puts another process in its place
            if haproxy._proc is process:
                log.warning("HAProxy has ended (%s); starting it again", process.returncode)
                haproxy._proc = await haproxy._start_and_wait_for_haproxy()
