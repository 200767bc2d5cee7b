"""How often Serve's controller looks after everything: often while an installation starts, less when it is up.

Serve knows one pace for both, ten looks a second, each of which asks Ray for the state of all nodes: 3.5 % of a core
for ever. At a slower pace from the beginning each start takes two seconds more, since every step of it waits for a
look. A controller that was replaced looks ten times a second again.
"""

from __future__ import annotations

from ray.serve.context import _get_global_client

from cluster.ingress import PROXY_HEALTH

# As often as the HTTP proxy's health is to be looked at: nothing that heals waits longer.
LOOK_SECONDS = float(PROXY_HEALTH["RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"])


def look_less_often() -> None:
    """Tell the running controller. Not public, but Serve's own variable holds from its start.

    Nobody waits for it: one that does not hear it goes on as before, and costs what it cost.
    """
    _get_global_client()._controller.__ray_call__.remote(_slow_down, LOOK_SECONDS)


def _slow_down(_: object, seconds: float) -> None:
    """In the controller's process, which has the module, and whose loop reads this name at each turn."""
    from ray.serve._private import controller

    controller.CONTROL_LOOP_INTERVAL_S = seconds
