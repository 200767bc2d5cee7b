"""What a turn asks to be done (`Instruction`) and what it is told (`Event`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kaizen.steward.policy import Choice
from kaizen.steward.state import Outcome, Stage

ChangeKind = Literal["begin", "adjust", "stop", "promote", "rollback"]
What = Literal["test", "stage", "guard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run `python -m MODULE ARGUMENTS --json` to its end."""

    id: str
    module: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choose:
    """Ask the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Afford:
    """Ask whether the budget allows the index that a candidate needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change the rollout, if it still is as the turn left it: `stable`, and `challenger` (empty: none) on trial."""

    id: str
    kind: ChangeKind
    release: str
    reason: str
    stable: str
    challenger: str
    mode: Stage = "interleave"
    weight: float = 0.0
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Look at what the users do with `release` against `against`, until it can be decided."""

    what: What
    release: str
    against: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The turn is over."""

    outcome: Outcome
    reason: str


Instruction = Run | Choose | Afford | Change | Watch | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A step ended.

    Attributes:
        output: the JSON object that it printed; None when it did not come to its end, and `error` says why.
        code: of the error (`KaizenError.code`), when it named one.
        transient: it may come to its end when it is run again: it was killed, or it said so.
        permanent: it said that it would fail again in the same way.
    """

    output: Mapping[str, Any] | None = None
    error: str = ""
    code: str = ""
    transient: bool = False
    permanent: bool = False
    at: float = 0.0
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The policy's word."""

    choice: Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Afforded:
    """What an index of all `documents` may take, and what the budget leaves now."""

    documents: int
    needed_cpu_s: float
    left_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The rollout was changed, now or before a kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """The rollout is not as the turn left it: somebody else decided."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a watch came to: take it in (`promote`), take it back (`rollback`), or neither, since time is up."""

    decision: Literal["promote", "rollback", "expired"]
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


Event = Ended | Chosen | Afforded | Changed | Overtaken | Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A line for the ledger's decisions."""

    kind: str
    reason: str
    release: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
