"""Requests and responses about the rollout. Every change names the version that it was decided on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from kaizen.body import Body
from kaizen.records import RolloutMode
from serve_apps.schemas import Number, Reply, Whole

Weight = Annotated[Number, Field(gt=0, le=1, description="Share of the identities (canary, ab) or of the searches.")]
Reason = Annotated[str, Field(max_length=4096, description="Why; kept in the ledger with who did it.")]
Version = Annotated[
    int, Field(ge=0, strict=True, description="As GET /v1/rollout gave it; 409 when it is another now."), Whole
]
TrialMode = Literal["shadow", "canary", "ab", "interleave"]


class _Change(Body):
    """What every change says."""

    version: Version
    reason: Reason = ""


class Begin(_Change):
    """Put a release on trial beside the stable one."""

    action: Literal["begin"]
    challenger: Annotated[str, Field(min_length=1, max_length=64)]
    mode: TrialMode
    weight: Weight


class Adjust(_Change):
    """Try the challenger in another way or on another share; what is not given stays."""

    action: Literal["adjust"]
    mode: TrialMode | None = None
    weight: Weight | None = None


class Stop(_Change):
    """Take the challenger away."""

    action: Literal["stop"]


class Retire(_Change):
    """Keep the previous release no longer warm."""

    action: Literal["retire"]


RolloutChange = Annotated[
    Begin | Adjust | Stop | Retire,
    Field(
        discriminator="action",
        examples=[
            {"action": "begin", "version": 3, "challenger": "r2-0a1b2c3d", "mode": "canary", "weight": 0.05},
            {"action": "adjust", "version": 4, "mode": "ab", "weight": 0.5, "reason": "no faults in the canary"},
            {"action": "stop", "version": 5, "reason": "slower"},
        ],
    ),
]


class Switch(Body):
    """A promotion, or a way back."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 4, "reason": "better in the test"}, {"reason": "users complain"}]}
    )
    version: Version | None = Field(None, description="As GET /v1/rollout gave it; left out: whatever it is now.")
    reason: Reason = ""


class RolloutReply(Reply):
    """Who gets what.

    `standing` says of each release that must be warm how it stands on the replica that responded.
    """

    version: int
    stable: str | None
    challenger: str | None
    mode: RolloutMode
    weight: float
    previous: str | None
    at: float
    standing: dict[str, str]


class DecisionReply(Reply):
    """One change, by whom and why."""

    seq: int
    at: float
    by: str
    kind: str
    release: str
    turn: str
    reason: str
    evidence: dict[str, Any]


class HistoryReply(Reply):
    """Changes of the rollout, the newest first."""

    decisions: list[DecisionReply]
