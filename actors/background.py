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
# Where every sync fails, the next process stops as soon: it should have done something else before it ends.
LAST_SECONDS = 30.0
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


def wait_before_the_end(what: str, error: WriterStopped) -> None:
    """Tell that this process will end with its ledger's writer, and let its other threads work on for a while."""
    log.critical("%s: %s This process ends in %.0f s.", what, error, LAST_SECONDS)
    threading.Event().wait(LAST_SECONDS)


def ends_with_its_writer(method: Callable[P, T]) -> Callable[P, T]:
    """A method of an actor that writes to the ledger: once its writer has stopped, only another process writes again,
    and whoever asks this one would be refused for ever."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except WriterStopped as error:
            wait_before_the_end(method.__qualname__, error)
            os._exit(1)

    return call
