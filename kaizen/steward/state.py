"""The memory of one turn: what it has done and what it does now, as JSON in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from kaizen.records import Verdict

Phase = Literal[
    "curate", "choose", "learn", "afford", "index", "judge",
    "begin", "test", "stop", "promote", "guard", "rollback", "done",
]  # fmt: skip
AttemptVerdict = Verdict | Literal["failed", "left_out"]
Stage = Literal["interleave", "shadow", "canary", "ab"]
Outcome = Literal[
    "", "promoted", "rolled_back", "not_better", "rejected", "nothing_to_learn", "failed", "overtaken", "stopped"
]
LEARNING: frozenset[Phase] = frozenset({"curate", "choose", "learn", "afford", "index", "judge"})
"""Phases in which a step may write data sets and models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One rung that was tried.

    Attributes:
        parent: the release that it began from.
        verdict: None until it is judged; `failed` when the step itself did not come to an end, `left_out` when the
            budget did not allow the index that it is judged on.
        gain: of the judgement, in points of its main measure; None when it did not say.
        cpu_s: what learning, its index and judging took.
        index_cpu_s: the index alone; `documents`: how many it was to hold. 0 where it needs none of its own.
    """

    rung: int
    parent: str
    release: str = ""
    verdict: AttemptVerdict | None = None
    reason: str = ""
    gain: float | None = None
    cpu_s: float = 0.0
    index_cpu_s: float = 0.0
    documents: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What there is to learn from: the data set, as `jobs.curate` told. `questions`: held-out ones about answers."""

    dataset: str
    examples: int
    queries: int
    demonstrations: int
    questions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """CPU seconds of one step that was run, and when."""

    at: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnState:
    """All that a turn knows. `from_json(state.to_json()) == state`.

    Attributes:
        turn: its id.
        stable: release that was stable when the turn began; what candidates are judged against.
        until_impression, until_feedback: `seq` up to which it learns; frozen, so that a repeated step reads the same.
        after_impression: `seq` after which it begins to; frozen likewise.
        material: None until it is curated.
        attempts: rungs tried, in order; the last one is being learnt or judged in those phases.
        candidate, stage: the release on trial on users, and how; empty before.
        failures, setbacks: of the step that is being run now: it ended with an error, or with one that may pass.
        begun: that step has begun and nothing is known of its end.
        evidence: what the last word about the candidate on trial was founded on.
        spent: what each step cost.
    """

    turn: str
    stable: str
    until_impression: int
    until_feedback: int
    after_impression: int = 0
    phase: Phase = "curate"
    material: Material | None = None
    attempts: tuple[Attempt, ...] = ()
    candidate: str = ""
    stage: Stage | Literal[""] = ""
    failures: int = 0
    setbacks: int = 0
    begun: bool = False
    evidence: Mapping[str, Any] | None = None
    outcome: Outcome = ""
    reason: str = ""
    spent: tuple[Spent, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TurnState:
        """The inverse of `to_json`."""
        material = stored.get("material")
        known = {field.name for field in fields(cls)}
        return cls(
            **{
                **{name: value for name, value in stored.items() if name in known},
                "material": Material(**material) if material else None,
                "attempts": tuple(Attempt(**one) for one in stored.get("attempts", ())),
                "spent": tuple(Spent(**one) for one in stored.get("spent", ())),
            }
        )

    @property
    def attempt(self) -> Attempt:
        """The rung that is being learnt or judged."""
        return self.attempts[-1]

    def with_attempt(self, **changes: Any) -> TurnState:  # noqa: ANN401 (fields of Attempt)
        """With changes to the last attempt."""
        return replace(self, attempts=(*self.attempts[:-1], replace(self.attempt, **changes)))
