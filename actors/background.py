"""When an actor's process ends by itself, and Ray starts it anew: it cannot live without a thread that failed
unexpectedly, nor with a ledger whose writer has stopped."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from kaizen.errors import WriterStopped

P = ParamSpec("P")
T = TypeVar("T")
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


def ends_with_its_writer(method: Callable[P, T]) -> Callable[P, T]:
    """A method of an actor that writes to the ledger: once its writer has stopped, only another process writes again,
    and whoever asks this one would be refused for ever."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except WriterStopped:
            log.critical("%s failed; ending this process", method.__qualname__, exc_info=True)
            os._exit(1)

    return call
