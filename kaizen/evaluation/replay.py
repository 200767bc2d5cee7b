"""The online test and the ledger: read what is new, and compute a decision of the past again from its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kaizen.errors import InvalidInput
from kaizen.evaluation.observed import Level, Liked, Seen, earned, level, tells
from kaizen.evaluation.online import RULES, Bounds, OnlineTest, Outcome, begin, decide, fold
from kaizen.records import Decision, Rollout
from kaizen.storage.ledger import Ledger
from kaizen.storage.ledger.pages import rows_between

EVIDENCE = "online_test"
_FIRST_RULES = 1  # of decisions that do not say by which they were made
_REFERENCE_ROWS = 5000  # impressions before the rollout in which the reference's own are looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A decision, and what its rows say now.

    Attributes:
        rules: number of the rules that it was made by.
        differs: fields of its outcome that are others now; of other rules, figures may well be.
    """

    decision: Decision
    outcome: Outcome
    rules: int
    differs: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether everything is equal."""
        return not self.differs

    @property
    def state(self) -> Literal["same", "otherwise", "other-rules"]:
        """Whether it comes out the same, and if not, whether that may be because the rules are others now."""
        if self.same:
            return "same"
        return "otherwise" if self.rules == RULES else "other-rules"

    @property
    def stands(self) -> bool:
        """Whether it comes out the same; where the rules are others now, whether the same is done."""
        return "action" not in self.differs if self.state == "other-rules" else self.same


def open_test(ledger: Ledger, rollout: Rollout) -> OnlineTest:
    """Return the test of a rollout before its first row, with the level of the release that it is measured by."""
    trial, measured = rollout.challenger or rollout.stable, _measured(rollout)
    one, other = (ledger.releases.get(name) if name else None for name in (trial, measured))
    return _open(ledger, rollout, written=one is not None and other is not None and not one.writes_as(other))


def _open(ledger: Ledger, rollout: Rollout, *, written: bool) -> OnlineTest:
    reference = _level_before(ledger, rollout, _measured(rollout) or "", answers=written)
    return begin(rollout, reference, written=written)


def _measured(rollout: Rollout) -> str | None:
    return rollout.stable if rollout.challenger else rollout.previous


def advance(ledger: Ledger, test: OnlineTest, until: tuple[int, int] | None = None) -> OnlineTest:
    """Return the test with all rows that are new (up to the `seq`s of impressions and feedback in `until`)."""
    impressions_end, feedback_end = until or (None, None)
    # Feedback first: the impression of each is then sure to be among those that are read after it.
    feedback = list(rows_between(ledger.feedback.after, test.feedback_seq, feedback_end))
    return fold(test, rows_between(ledger.impressions.after, test.impression_seq, impressions_end), feedback)


def evidence(test: OnlineTest, outcome: Outcome, bounds: Bounds) -> dict[str, Any]:
    """Return what a decision must keep so that `replay` can compute it again."""
    return {
        EVIDENCE: {
            "rollout": asdict(test.rollout),
            "bounds": asdict(bounds),
            "rules": RULES,
            "written": test.written,
            "impression_seq": test.impression_seq,
            "feedback_seq": test.feedback_seq,
            "outcome": asdict(outcome),
        }
    }


def replay(ledger: Ledger, seq: int) -> Replayed:
    """Compute decision `seq` again from the ledger's rows.

    Raises:
        NotFound: there is no such decision.
        InvalidInput: it was not decided by an online test.
    """
    decision = ledger.decisions.get(seq)
    kept: Mapping[str, Any] | None = decision.evidence.get(EVIDENCE)
    if kept is None:
        raise InvalidInput(
            f"Decision {seq} ({decision.kind}) was not made by an online test.", advice="Replay another decision."
        )
    test = _open(ledger, Rollout(**kept["rollout"]), written=kept.get("written", False))  # older ones are on searches
    test = advance(ledger, test, (kept["impression_seq"], kept["feedback_seq"]))
    outcome = decide(test, Bounds.from_record(kept["bounds"]))
    differs = tuple(name for name, value in asdict(outcome).items() if value != kept["outcome"].get(name))
    return Replayed(decision=decision, outcome=outcome, rules=kept.get("rules", _FIRST_RULES), differs=differs)


def _level_before(ledger: Ledger, rollout: Rollout, release: str, *, answers: bool) -> Level:
    """The level of `release` in the last impressions before the rollout; those shown to nobody do not count."""
    rows = rows_between(ledger.impressions.after, rollout.since_impression - _REFERENCE_ROWS, rollout.since_impression)
    seen = {
        (impression.tenant, impression.id): Seen.of(seq, impression)
        for seq, impression in rows
        if impression.release == release and impression.arm != "shadow" and tells(impression)
    }
    rewards: dict[int, Liked] = {}
    # From the first word on these impressions, however many came since: one caller can repeat a click at any length.
    start = ledger.feedback.start(rollout.since_impression - _REFERENCE_ROWS)
    for _, judgement in rows_between(ledger.feedback.after, start, rollout.since_feedback):
        about = seen.get((judgement.tenant, judgement.impression_id))
        if about is not None and (reward := earned(rewards.get(about.seq), about, judgement, answers=answers)):
            rewards[about.seq] = reward
    return level(seen.values(), rewards, answers=answers)
