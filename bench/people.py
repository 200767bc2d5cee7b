"""People who search and click, made by chance: rows as the ledger would give them to an online test.

For measuring the online test, and for its own tests. Each looks for one good document, which a release ranks first or
last of three.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from kaizen.evaluation.interleaving import team_draft
from kaizen.evaluation.observed import level
from kaizen.evaluation.online import OnlineTest, begin, fold
from kaizen.records import Arm, Feedback, Impression, Rollout, ShownChunk, Team

STABLE, CHALLENGER = "r1-00000000", "r2-00000000"
Rows = tuple[list[tuple[int, Impression]], list[tuple[int, Feedback]]]


def rollout(mode: str, weight: float = 0.5) -> Rollout:
    on_trial = None if mode == "off" else CHALLENGER
    previous = "r0-00000000" if mode == "off" else None
    return Rollout(version=3, stable=STABLE, challenger=on_trial, mode=mode, weight=weight, previous=previous)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How people take to a release: where the good document is (the chance that it is first), and its faults."""

    good_first: float = 0.5
    faulty: float = 0.0
    total_ms: float = 10.0
    click: float = 0.8


class Traffic:
    """A stream of impressions with their feedback, each a row further."""

    def __init__(self, seed: int, identities: int = 40, repeat: float = 0.0) -> None:
        self._rng = Random(seed)  # noqa: S311 (no secret)
        self._names = [f"u{number}" for number in range(identities)]
        self._repeat = repeat
        self._seq = self._feedback = 0

    def rows(self, count: int, mode: str, stable: Habits, challenger: Habits, weight: float = 0.5) -> Rows:
        """The next `count` impressions; clicks follow at once."""
        impressions, feedback = [], []
        for _ in range(count):
            self._seq += 1
            user = self._rng.choice(self._names)
            arm, habits, shown = self._answer(user, mode, stable, challenger, weight)
            made = _impression(self._seq, user, self._query(), arm, shown, habits, self._rng.random() < habits.faulty)
            impressions.append((self._seq, made))
            clicked = next((name for name, _ in shown if name == "good"), None)
            if clicked and self._rng.random() < habits.click / (1 + [name for name, _ in shown].index(clicked)):
                self._feedback += 1
                feedback.append((self._feedback, _click(self._feedback, made, clicked)))
        return impressions, feedback

    def _query(self) -> str:
        return "again" if self._rng.random() < self._repeat else f"q{self._seq}"

    def _answer(
        self, user: str, mode: str, stable: Habits, challenger: Habits, weight: float
    ) -> tuple[Arm, Habits, list[tuple[str, Team]]]:
        if mode == "interleave":
            return "interleaved", stable, team_draft(self._ranking(stable), self._ranking(challenger), 3, self._rng)
        chosen: Arm = "stable"
        if mode != "off" and Random(user).random() < weight:  # noqa: S311
            chosen = "challenger"
        habits = challenger if chosen == "challenger" else stable
        return chosen, habits, [(name, "") for name in self._ranking(habits)]

    def _ranking(self, habits: Habits) -> list[str]:
        others = [f"bad{number}" for number in self._rng.sample(range(9), 2)]
        return ["good", *others] if self._rng.random() < habits.good_first else [*others, "good"]


def begun(mode: str, reference: Rows | None = None, weight: float = 0.5) -> OnlineTest:
    """A test before any row; `reference`: rows of the release that it is measured by."""
    measured = fold(begin(rollout("off"), level([], {})), *(reference or ([], [])))
    return begin(rollout(mode, weight), level(measured.seen.values(), measured.rewards))


def _impression(
    seq: int, user: str, query: str, arm: Arm, shown: list[tuple[str, Team]], habits: Habits, faulty: bool
) -> Impression:
    return Impression(
        id=f"imp_{seq}", at=float(seq), tenant="t", key_id="k", user=user, index_seq=1, kind="search", mode="hybrid",
        release=CHALLENGER if arm == "challenger" else STABLE, query=query, answer=None,
        coverage=0.5 if faulty else 1.0, degraded=(), timings_ms={"total": habits.total_ms}, arm=arm,
        shown=tuple(
            ShownChunk(chunk_id=name, document_id=name, position=place, score=1.0, dense=None, lexical=None,
                       propensity=1.0, team=team)
            for place, (name, team) in enumerate(shown, start=1)
        ),
    )  # fmt: skip


def _click(number: int, on: Impression, chunk: str) -> Feedback:
    return Feedback(
        id=f"fb_{number}", at=on.at, tenant=on.tenant, impression_id=on.id, kind="click", chunk_id=chunk, value=1.0,
        text="", identity=on.identity, idempotency_key="",
    )  # fmt: skip
