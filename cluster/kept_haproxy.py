"""HAProxy is started again by the actor that started it, as soon as its process has ended.

Serve looks at it every half second, and after three looks replaces the actor, too: nobody was let in for 3.6 seconds
of a quiet machine and for over five of a busy one. An actor that Serve has replaced leaves it to Serve again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.serve.context import _get_global_client

log = logging.getLogger("ray.serve")


def keep_haproxy() -> None:
    """Have the running controller tell the actors of this cluster that start HAProxy.

    Nobody waits for it: after one that does not hear it Serve looks, as before.
    """
    _get_global_client()._controller.__ray_call__.remote(_tell)


def _tell(controller: Any) -> None:  # noqa: ANN401 (Serve's actors, whose names are no classes)
    """In the controller's process, which knows them."""
    for actor in controller.get_proxies().values():
        actor.__ray_call__.remote(_keep)


def _keep(actor: Any) -> None:  # noqa: ANN401
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
