"""How Ray Serve's HTTP front end is set up: environment for its processes, options for its start.

Serve reads these variables when its processes start, so they must be set before Ray is.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from cluster.mended_haproxy import write_launcher
from cluster.short_paths import HAPROXY_SOCKET
from kaizen.config import Server, Settings
from kaizen.errors import Unavailable

# Serve replaces a proxy that failed three looks in a row: at a look every second a dead one was back after 5 s, at
# Serve's own pace after 26 s. One that is merely busy has two seconds to answer each, and a minute and a half to start:
# with Serve's 15 s a slow machine killed it again and again before it was up.
PROXY_HEALTH = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.25",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
}

# Where a port that is free now will be a moment later, too: those that Linux gives outgoing connections begin at
# 32768 unless told otherwise, and Ray's workers end at 19999.
_PORTS = range(20_000, 32_000)
_GIVEN: set[int] = set()  # by this process: who got one may not have come to it yet

# HAProxy lets go of a caller who neither sends nor takes what is due for so long: also of one who was answered before
# its body was whole, for the rest of which it waits (Ray: an hour). It waits for a slow response as before. A replica,
# which gives a body up sooner, has said so by then.
CALLER_SECONDS = 20

# Our code waits for nothing on the event loop, so the replica's own will do: no hop to another thread and back.
REPLICA_LOOP = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}


def ingress_environment(server: Server, runtime: Path) -> Mapping[str, str]:
    """Environment variables for Ray's processes.

    Args:
        runtime: private directory (mode 0700) with a short path, since HAProxy's control socket goes there: in its
            usual place every user of the machine could give it orders.
    """
    if server.ingress == "proxy":
        return {**PROXY_HEALTH, **REPLICA_LOOP}
    launcher = runtime / "haproxy"
    write_launcher(launcher, server.host)
    stats, metrics = free_ports(2)
    return {
        **PROXY_HEALTH,
        **REPLICA_LOOP,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(runtime / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(runtime / HAPROXY_SOCKET),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(runtime),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(runtime / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CALLER_SECONDS),
    }


def serve_host(settings: Settings) -> str:
    """Where Serve is told to listen. Replicas behind a HAProxy of ours listen on loopback, where it looks for them,
    wherever it lets callers in."""
    ours = settings.cluster.address == "local" and settings.server.ingress == "haproxy"
    return "127.0.0.1" if ours else settings.server.host


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens now, none that was given before.

    Raises Unavailable when there are not so many.
    """
    found: list[int] = []
    candidates = [port for port in _PORTS if port not in _GIVEN]
    for port in random.sample(candidates, len(candidates)):
        if _is_free(port):
            found.append(port)
            if len(found) == count:
                _GIVEN.update(found)
                return found
    raise Unavailable("There is no free port.", advice=f"Free some of {_PORTS.start} to {_PORTS.stop - 1}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
