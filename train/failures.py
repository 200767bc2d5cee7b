"""What ends a run. Ray Train starts workers again whatever they raised, and wraps it up."""

from __future__ import annotations

import ray.train

from kaizen.errors import KaizenError, PermanentError, Unavailable


class EndAtPermanent(ray.train.UserCallback):
    """Ends the run at an error that would come again: what is raised in Ray Train's controller is not tried again."""

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the permanent error of any worker; those beside it fail because they miss it."""
        for error in worker_exceptions.values():
            if isinstance(error, PermanentError):
                raise error


def told(failure: ray.train.TrainingFailedError) -> KaizenError:
    """Return the error of ours within `failure`, permanent ones first; `Unavailable` when there is none."""
    controllers = getattr(failure, "controller_failure", None)
    within = [*getattr(failure, "worker_failures", {}).values(), controllers]
    ours = [error for error in within if isinstance(error, KaizenError)]
    others = Unavailable(
        "The training workers failed again and again.", advice="Run it again to go on; see Ray's logs for why."
    )
    return min(ours, key=lambda error: not isinstance(error, PermanentError), default=others)
