"""Ray Train's record of a run's checkpoints, kept whole.

Ray writes it in place. Whoever is killed in that moment would leave half of it, and a run that never goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray.train
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from kaizen.storage.durable import replace

_COPY = f"whole_{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}"


class KeepRecord(ray.train.UserCallback):
    """Copies the record in one step after each report. In Ray Train's controller.

    What a copy names is there: Ray deletes an old checkpoint after it has written the next record.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:  # noqa: ANN401 (Ray's)
        """Copy what is there; before the first checkpoint there is none."""
        record = self._run / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
        if record.exists():
            replace(self._run / _COPY, record.read_bytes())


def mend_record(run: Path) -> None:
    """Put the copy in the place of a torn record; without a copy the run begins anew."""
    record, copy = run / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME, run / _COPY
    if not record.exists() or _is_whole(record):
        return
    if copy.exists():
        replace(record, copy.read_bytes())
    else:
        record.unlink()


def _is_whole(record: Path) -> bool:
    try:
        json.loads(record.read_bytes())
    except ValueError:
        return False
    return True
