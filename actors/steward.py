"""The steward's process: two threads that look at the ledger, and nothing that a kill could lose.

Detached; Ray restarts it when it ended, the fleet when it hangs. What it does and why is in `kaizen.steward`; a step
that it runs is a child process which ends with it. It answers calls only to say that it lives: commands and HTTP read
the ledger.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

import ray
from ray.actor import ActorHandle

from actors.background import run_in_background, wait_before_the_end
from actors.names import STEWARD
from kaizen.config import Settings
from kaizen.errors import KaizenError, WriterStopped
from kaizen.steward.guard import Guard
from kaizen.steward.keeper import Keeper
from kaizen.steward.process import StepRunner
from kaizen.workspace import open_workspace

log = logging.getLogger("kaizen.steward")


class Steward:
    """Keeps turns going in one thread and watches promotions in another."""

    def __init__(self, settings: Settings) -> None:
        ledger = open_workspace(settings).ledger
        self._poll_seconds = settings.learning.poll_seconds
        self._keeper = Keeper(ledger, settings.learning, StepRunner(settings).run)
        self._guard = Guard(ledger, settings.learning)
        run_in_background(self._keep)
        run_in_background(self._watch)

    def ping(self) -> tuple[str, str, int]:
        """State, node and process: it lives."""
        return "serving", ray.get_runtime_context().get_node_id(), os.getpid()

    def _keep(self) -> None:
        pause = threading.Event()
        while True:
            if not _done(self._keeper.tick):
                pause.wait(self._poll_seconds)

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            _done(self._guard.tick)
            pause.wait(self._poll_seconds)


def _done(tick: Callable[[], bool]) -> bool:
    """Whether something was done. A ledger that does not answer is asked again; anything else ends the process, and a
    writer that has stopped, too: only another one writes again."""
    try:
        return tick()
    except WriterStopped as error:
        wait_before_the_end(tick.__qualname__, error)
        raise
    except KaizenError as error:
        log.warning("%s: %s", tick.__qualname__, error)
        return False


def start_steward(settings: Settings) -> ActorHandle:
    """Return the installation's steward, started if it is not there."""
    options = {"lifetime": "detached", "get_if_exists": True, "max_restarts": -1, "num_cpus": 0, "max_concurrency": 4}
    return ray.remote(Steward).options(name=STEWARD, namespace=settings.cluster.namespace, **options).remote(settings)
