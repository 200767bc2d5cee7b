"""Threads that an actor cannot live without: when one fails unexpectedly the process ends, and Ray starts it anew."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger("kaizen.background")


def run_in_background(task: Callable[[], None]) -> None:
    """Start a daemon thread for `task`. A half-dead actor that still answers pings would be worse than a dead one."""

    def run() -> None:
        try:
            task()
        except BaseException:
            log.critical("%s failed; ending this process", task.__name__, exc_info=True)
            os._exit(1)

    threading.Thread(target=run, name=task.__name__, daemon=True).start()
