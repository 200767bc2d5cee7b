"""What a sweep tries, seen from the trials: settings in, measurements out. It travels to the workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How good the settings are after `share` (to 1) of the trial's way: query -> nDCG@10, or its value as a question.

    values: on the validation half. test: on the other one, with the last report of a trial that cannot be repeated
    cheaply; trials do not compete on it.
    """

    share: float
    values: dict[str, float]
    test: dict[str, float] = field(default_factory=dict)


class Study(Protocol):
    """Tries settings.

    stepwise: a trial reports several times, as often as every other one, so that poor ones can be stopped early.
    """

    @property
    def stepwise(self) -> bool: ...

    def run(self, settings: Mapping[str, Any], report: Callable[[Report], None]) -> None:
        """Measure these settings; the last report is of the whole way. The same settings give the same."""
        ...
