"""Ray Train's trainer for PyTorch without what our trainings never use, and with less waiting."""

from __future__ import annotations

import os

from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import HEALTH_CHECK_INTERVAL_S_ENV_VAR
from ray.train.v2._internal.execution.callback import RayTrainCallback

# Each is a process that takes seconds of CPU to start, for every start of the workers: one would hand out Ray Data's
# data sets, and ours are files; the other would free what a controller that was killed had reserved, and a command of
# ours then ends, and all that it had reserved goes with it.
_UNUSED = (DatasetsCallback, PlacementGroupCleanerCallback)

# A worker that reports waits until its report before that was taken, and a run is over when somebody looks: Ray Train
# looks every two seconds.
_LOOK_SECONDS = "0.25"


class Trainer(TorchTrainer):
    """See `ray.train.torch.TorchTrainer`; takes no `datasets`."""

    def fit(self) -> Result:
        """Train, and return what Ray Train's own returns."""
        os.environ.setdefault(HEALTH_CHECK_INTERVAL_S_ENV_VAR, _LOOK_SECONDS)  # Ray Train hands it to its controller
        return super().fit()

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        return [each for each in super()._create_default_callbacks() if not isinstance(each, _UNUSED)]
