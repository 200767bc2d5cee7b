"""Ray Train's record of a run's checkpoints, kept whole.

Ray writes it in place. Whoever is killed in that moment would leave half of it, and a run that never goes on.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import ray.train
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from kaizen.storage.durable import replace

log = logging.getLogger("kaizen.run_record")

_COPY = f"whole_{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}"


class KeepRecord(ray.train.UserCallback):
    """Copies the record in one step after each report. In Ray Train's controller.

    What the copy of the record before a torn one names is there: Ray deletes an old checkpoint after it has written the
    record without it.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:  # noqa: ANN401 (Ray's)
        """Copy what is there; before the first checkpoint there is none."""
        try:
            mend_record(self._run)
        except OSError as error:  # of a copy; the training itself goes on
            log.warning("the record of checkpoints could not be copied: %s", error)


def mend_record(run: Path) -> None:
    """Copy a whole record, which may be newer than its copy; put the copy in the place of a torn one. Without a copy
    the run begins anew."""
    record, copy = run / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME, run / _COPY
    if not record.exists():
        return
    if _is_whole(record):
        replace(copy, record.read_bytes())
    elif copy.exists():
        replace(record, copy.read_bytes())
    else:
        record.unlink()


def put_aside(run: Path) -> None:
    """Remove a run. In one step at first: of half a run Ray would say for ever that its checkpoints are missing."""
    aside = run.with_name(f".{run.name}-removed")
    shutil.rmtree(aside, ignore_errors=True)
    run.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _is_whole(record: Path) -> bool:
    try:
        json.loads(record.read_bytes())
    except ValueError:
        return False
    return True
