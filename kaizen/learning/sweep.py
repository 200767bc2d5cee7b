"""Which of many trials is better, and not merely the luckiest of them.

Trials compete on one half of the judged queries. Only the winner meets the present settings on the other half, which
no choice was made on, so that a paired test of the two means what it says.

H. White: A Reality Check for Data Snooping. Econometrica 68(5), 2000 (how far the best of many equals gets by luck).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from kaizen.evaluation.paired import LEVEL, Paired
from kaizen.learning.splits import Nearness

PRESENT = 1  # number of the trial with the present settings
ROUNDS = 2000
_BATCH_VALUES = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Settings and what they gave.

    Attributes:
        number: from 1; PRESENT is the settings that are in use.
        values: query -> the metric, on the validation half. test: on the other one, if it was measured at once.
        share: of its way that the trial went; under 1 it was stopped, because others were better half way.
        steps: mean of `values` at each report.
    """

    number: int
    settings: Mapping[str, Any]
    values: Mapping[str, float]
    share: float
    steps: tuple[float, ...]
    cpu_s: float
    seconds: float
    test: Mapping[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean of the metric."""
        return sum(self.values.values()) / max(1, len(self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Luck:
    """What the best of so many trials would seem to gain if all were as good as the present settings.

    expected: mean of that seeming gain. p: chance of a gain as large as the one that was seen.
    """

    expected: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What follows from a sweep, and why."""

    decision: Literal["proven", "keep"]
    reason: str


def halves(texts: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the names of the validation and of the test queries, by a hash; texts that are nearly the same together.

    Args:
        texts: name -> text of each judged query.
    """
    names = sorted(texts)
    near = Nearness([texts[name] for name in names])
    split: tuple[list[str], list[str]] = ([], [])
    for number, name in enumerate(names):
        leader = names[near.leader(number)]
        split[hashlib.blake2b(f"sweep\0{leader}".encode()).digest()[0] & 1].append(name)
    return split


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the highest mean of those that went to the end; of equals the first."""
    return min((trial for trial in trials if trial.share >= 1), key=lambda trial: (-trial.mean, trial.number))


def luck(trials: Sequence[Trial], *, seed: int = 0) -> Luck:
    """Return how far luck carries the best of these trials.

    White's bootstrap: each trial's gains over the present settings are shifted to a mean of 0, queries are drawn anew
    with replacement, and the best mean is taken, ROUNDS times. Trials that are alike stay alike in every round, so
    thirty hardly different trials get no more luck than they have.
    """
    finished = [trial for trial in trials if trial.share >= 1]
    present = next(trial for trial in finished if trial.number == PRESENT)
    names = sorted(present.values)
    table = np.array([[trial.values[name] - present.values[name] for name in names] for trial in finished])
    means = table.mean(axis=1)
    maxima = _maxima(table - means[:, None], np.random.default_rng(seed))
    return Luck(
        expected=float(maxima.mean()),
        p=float((np.count_nonzero(maxima >= means.max() - 1e-12) + 1) / (len(maxima) + 1)),
    )


def conclude(trials: Sequence[Trial], lucky: Luck, test: Paired | None) -> Conclusion:
    """Say whether the winner is better than what is in use.

    Args:
        test: present settings (stable) against the winner (candidate) on the test half; None when they are the same.
    """
    winner = best(trials)
    present = next(trial for trial in trials if trial.number == PRESENT)
    gain = winner.mean - present.mean
    if test is None:
        return Conclusion(decision="keep", reason=f"None of {len(trials)} trials beat the present settings.")
    seen = f"{gain:+.4f} on the validation half, where the luckiest of equals gains {lucky.expected:.4f}"
    sure = f"{test.low:+.4f} to {test.high:+.4f}, p {test.p:.2g}"
    tested = f"{test.difference:+.4f} on {test.queries} other queries ({sure})"
    if test.better:
        return Conclusion(decision="proven", reason=f"Trial {winner.number}: {seen}; {tested}.")
    weak = f"No trial is proven better. Trial {winner.number}: {seen}; {tested}."
    asked = f"{round(LEVEL * 100)} % certainty is asked for; {test.doubt}"
    return Conclusion(decision="keep", reason=f"{weak} {asked}. Keep what you have.")


def _maxima(centred: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(trials, queries) of mean 0 -> (ROUNDS,) best means over queries drawn with replacement."""
    queries = centred.shape[1]
    found, left = [], ROUNDS
    while left:
        rounds = min(left, max(1, _BATCH_VALUES // queries))
        counts = rng.multinomial(queries, np.full(queries, 1 / queries), size=rounds)
        found.append((counts @ centred.T / queries).max(axis=1))
        left -= rounds
    return np.concatenate(found)
