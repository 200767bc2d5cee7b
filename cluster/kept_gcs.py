"""Ray's GCS, which knows all actors and where they are, is started again when its process ends.

Nobody asks it anything while all is well, so requests are answered meanwhile. But Ray's processes give up a minute
after it has gone, and the head with them. What it knows lies in a file, so the next one goes on where this one ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ray._private import worker
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER

log = logging.getLogger("kaizen.head")

# One that cannot start (its disk is full) must not keep a core busy.
PAUSE_SECONDS = 0.5


def remembering(directory: Path) -> dict[str, str]:
    """Ray's system configuration for a GCS whose next process knows what this one knew.

    Args:
        directory: of this Ray alone: it must not find another one's.
    """
    return {"gcs_storage": "rocksdb", "gcs_storage_path": str(directory)}


def keep_gcs() -> Callable[[], None]:
    """Start the GCS of the Ray that this process has started again whenever it ends; return what stops that.

    It has to be stopped before Ray is shut down.
    """
    node, enough = cast(Node, worker._global_node), threading.Event()
    # One thread for all: the kernel ends what a thread has started so together with the thread.
    threading.Thread(target=_keep, args=(node, enough), name="gcs", daemon=True).start()
    return enough.set


def _keep(node: Node, enough: threading.Event) -> None:
    while True:
        node.all_processes[PROCESS_TYPE_GCS_SERVER][0].process.wait()
        if enough.wait(PAUSE_SECONDS):
            return
        log.warning("Ray's GCS has ended; starting it again")
        node.kill_gcs_server(check_alive=False)  # it has ended: forget it
        while not _started(node):
            if enough.wait(PAUSE_SECONDS):
                return


def _started(node: Node) -> bool:
    try:
        node.start_gcs_server()
    except OSError as error:  # whatever ended it (no memory, say) may stand in the way of the next one, too
        log.warning("Ray's GCS does not start yet: %s", error)
        return False
    return True
