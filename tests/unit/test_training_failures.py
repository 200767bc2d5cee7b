"""What a failed training run is told as."""

from __future__ import annotations

import pytest
from ray.train import ControllerError, WorkerGroupError

from kaizen.errors import BadModel, ConfigError, InvalidInput, KaizenError, TransientError, Unavailable
from train.failures import EndAtPermanent, told

REFUSED = InvalidInput("No demonstration fits.", advice="Raise generator.context_tokens.")
AWAY = Unavailable("The model's store does not answer.")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (WorkerGroupError("", {0: RuntimeError("peer closed"), 1: REFUSED}), REFUSED),
        (WorkerGroupError("", {0: AWAY, 1: REFUSED}), REFUSED),
        (WorkerGroupError("", {0: AWAY}), AWAY),
        (ControllerError(BadModel("It is no model.")), BadModel("It is no model.")),
    ],
)
def test_an_error_of_ours_keeps_its_kind_and_its_advice(failure: Exception, expected: KaizenError) -> None:
    assert (type(told(failure)), str(told(failure))) == (type(expected), str(expected))


def test_any_other_may_pass() -> None:
    for failure in (WorkerGroupError("", {0: RuntimeError("killed")}), ControllerError(RuntimeError("no CPUs"))):
        assert isinstance(told(failure), TransientError)


def test_only_what_would_come_again_ends_a_run_at_once() -> None:
    ends = EndAtPermanent()
    ends.after_exception(None, {0: RuntimeError("killed"), 1: AWAY})
    with pytest.raises(ConfigError):
        ends.after_exception(None, {0: RuntimeError("peer closed"), 1: ConfigError("Too many workers.")})
