"""Trials on Ray Tune: as many at a time as the machine has CPUs, poor ones stopped half way where there is a way."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from kaizen.errors import Unavailable
from kaizen.learning.sweep import PRESENT, Trial
from tune.spaces import Drawn
from tune.study import Report, Study

_CHANCES = 2  # times that a trial begins again after its worker died
REPORTS = 4  # of a trial that is stepwise
_KEEP_A = 2  # one in so many trials goes on at each report
Keep = Callable[[Trial], None]


def run_trials(study: Study, drawn: Mapping[int, Drawn], folder: Path, keep: Keep) -> None:
    """Run the trials `drawn` (number -> settings) on the connected cluster; `keep` each as it ends.

    Args:
        folder: for Tune's own notes; nothing is read from it again, and it is gone at the end.

    Raises:
        Unavailable: a trial's workers died or failed again and again.
    """
    _quieten()
    shutil.rmtree(folder, ignore_errors=True)
    trainable = tune.with_parameters(_trial, study=study, drawn=dict(drawn))
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"number": tune.grid_search(sorted(drawn))},
        tune_config=tune.TuneConfig(
            metric="mean",
            mode="max",
            scheduler=_Halving() if study.stepwise else FIFOScheduler(),  # type: ignore[no-untyped-call]
            max_concurrent_trials=max(1, int(ray.cluster_resources()["CPU"])),  # type: ignore[no-untyped-call]
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=tune.FailureConfig(max_failures=_CHANCES),
            callbacks=[_Keeper(dict(drawn), keep)],
            verbose=0,
        ),
    )
    failed = tuner.fit().errors
    shutil.rmtree(folder, ignore_errors=True)
    if failed:
        raise Unavailable(
            f"{len(failed)} of {len(drawn)} trials failed: {type(failed[0]).__name__}.",
            advice="Run it again to go on; see Ray's logs for why.",
        ) from failed[0]


def _quieten() -> None:
    """`keep` keeps the trials: Tune is not to write them three times more, miss that afterwards, or print tables."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    logging.getLogger("ray.tune").setLevel(logging.ERROR)


def _trial(config: Mapping[str, Any], study: Study, drawn: Mapping[int, Drawn]) -> None:
    wall, cpu = time.monotonic(), time.process_time()

    def tell(report: Report) -> None:
        tune.report(
            {
                "mean": sum(report.values.values()) / max(1, len(report.values)),
                "values": report.values,
                "test": report.test,
                "share": report.share,
                "cpu_s": round(time.process_time() - cpu, 3),
                "seconds": round(time.monotonic() - wall, 3),
            }
        )

    study.run(drawn[config["number"]], tell)


class _Keeper(tune.Callback):
    """Hands each trial on as soon as it has ended, whether it went to its end or was stopped."""

    def __init__(self, drawn: Mapping[int, Drawn], keep: Keep) -> None:
        self._drawn, self._keep = drawn, keep
        self._steps: dict[int, list[float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that we do without

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: object) -> None:
        """Begin (again) without reports."""
        self._steps[trial.config["number"]] = []

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **_: object
    ) -> None:
        """Note how good it was at this report."""
        self._steps[trial.config["number"]].append(result["mean"])

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: object) -> None:
        """Hand it on."""
        number, last = trial.config["number"], trial.last_result
        self._keep(
            Trial(
                number=number,
                settings=self._drawn[number],
                values=last["values"],
                test=last["test"],
                share=last["share"],
                steps=tuple(self._steps[number]),
                cpu_s=last["cpu_s"],
                seconds=last["seconds"],
            )
        )


class _Halving(AsyncHyperBandScheduler):
    """ASHA (Li and others: A System for Massively Parallel Hyperparameter Tuning, MLSys 2020).

    The present settings go to their end in any case: everything is compared with them.
    """

    def __init__(self) -> None:
        super().__init__(grace_period=1, max_t=REPORTS + 1, reduction_factor=_KEEP_A)

    def on_trial_result(self, controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:  # noqa: ANN401
        """See TrialScheduler."""
        decision: str = super().on_trial_result(controller, trial, result)
        return TrialScheduler.CONTINUE if trial.config["number"] == PRESENT else decision
