"""Data sets, candidates, trusted judgements and the steward's turns, on both databases."""

from __future__ import annotations

import pytest

from kaizen.errors import Conflict, NotFound
from kaizen.records import Candidate, Dataset, Judgement
from kaizen.storage.ledger import Ledger


def test_a_data_set_is_kept_once(ledger: Ledger) -> None:
    first = Dataset(id="ds-1", at=1.0, artifact="datasets/ds-1", record={"examples": 3})
    assert ledger.datasets.newest() is None
    ledger.datasets.record(first)
    ledger.datasets.record(Dataset(id="ds-1", at=2.0, artifact="elsewhere", record={}))
    ledger.datasets.record(Dataset(id="ds-0", at=0.5, artifact="datasets/ds-0", record={}))
    assert (ledger.datasets.get("ds-1"), ledger.datasets.newest()) == (first, first)
    assert [one.id for one in ledger.datasets.list()] == ["ds-1", "ds-0"]
    with pytest.raises(NotFound):
        ledger.datasets.get("ds-2")


def test_a_candidate_is_judged(ledger: Ledger) -> None:
    release = ledger.releases.record({"prompt": {"fingerprint": "p"}}).id
    record = {"dataset": "ds-1", "cost": {"cpu_s": 2.5}}
    made = ledger.candidates.record(Candidate(release=release, at=1.0, rung=2, turn="turn_1", record=record))
    again = ledger.candidates.record(Candidate(release=release, at=9.0, rung=3, turn="turn_1", record=record))
    assert again == made
    judged = ledger.candidates.judge(release, verdict="reject", reason="It is worse.", report="reports/x")
    assert (judged.verdict, judged.reason, judged.report, judged.rung) == ("reject", "It is worse.", "reports/x", 2)
    assert ledger.candidates.list() == ledger.candidates.list(turn="turn_1") == [judged]
    assert ledger.candidates.list(turn="turn_2") == []
    for attempt in (
        lambda: ledger.candidates.judge("r9-0", verdict="promote", reason="", report=""),
        lambda: ledger.candidates.record(Candidate(release="r9-0", at=1.0, rung=1, turn="", record={})),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_what_is_learnt_again_is_what_was_learnt_last(ledger: Ledger) -> None:
    release = ledger.releases.record({"prompt": {"fingerprint": "p"}}).id

    def learnt(number: int, parent: str = "r0") -> Candidate:
        record = {"dataset": f"ds-{number}", "parent": parent}
        made = Candidate(release=release, at=float(number), rung=1, turn=f"turn_{number}", record=record)
        return ledger.candidates.record(made)

    for number in range(1, 25):
        assert (learnt(number).verdict, learnt(number).turn) == (None, f"turn_{number}")
        judged = ledger.candidates.judge(release, verdict="reject", reason=f"No {number}.", report=f"reports/{number}")
        assert learnt(number) == judged, "a step that is run twice"
    assert learnt(25, parent=release) == judged, "nothing was learnt from it"
    assert (judged.at, judged.record["dataset"]) == (24.0, "ds-24")
    earlier = judged.record["earlier"]
    assert [one["dataset"] for one in earlier] == [f"ds-{number}" for number in range(23, 3, -1)]
    assert earlier[0] == {
        "at": 23.0, "rung": 1, "turn": "turn_23", "dataset": "ds-23", "parent": "r0", "verdict": "reject",
        "reason": "No 23.", "report": "reports/23",
    }  # fmt: skip
    assert ledger.candidates.list() == [judged]


def test_trusted_judgements_are_replaced_by_newer_ones(ledger: Ledger) -> None:
    def judgement(document_id: str, grade: int, tenant: str = "a") -> Judgement:
        return Judgement(tenant=tenant, query_id="q", query="What?\0", document_id=document_id, grade=grade)

    ledger.judgements.put_many([judgement("d1", 1), judgement("d2", 0), judgement("d1", 1, tenant="b")])
    ledger.judgements.put_many([judgement("d2", 2)])
    ledger.judgements.put_many([])
    assert ledger.judgements.all() == [judgement("d1", 1), judgement("d2", 2), judgement("d1", 1, tenant="b")]
    assert (ledger.judgements.clear("a"), ledger.judgements.clear("a")) == (2, 0)
    told = [(one.by, one.kind, one.evidence) for one in reversed(ledger.decisions.newest())]
    assert told == [
        ("command", "trusted_add", {"queries": {"a": 1, "b": 1}, "source": ""}),
        ("command", "trusted_add", {"queries": {"a": 1}, "source": ""}),
        ("command", "trusted_clear", {"tenant": "a", "judgements": 2}),
        ("command", "trusted_clear", {"tenant": "a", "judgements": 0}),
    ]
    assert ledger.judgements.all() == [judgement("d1", 1, tenant="b")]


def test_one_turn_at_a_time(ledger: Ledger) -> None:
    assert ledger.turns.open() is None
    turn = ledger.turns.start("500 clicks", {"step": "curate"})
    with pytest.raises(Conflict):
        ledger.turns.start("again", {})
    ledger.turns.save(turn.id, {"step": "judge"})
    opened = ledger.turns.open()
    assert opened is not None
    assert (opened.id, opened.state, opened.trigger) == (turn.id, {"step": "judge"}, "500 clicks")
    ledger.turns.finish(turn.id, "promoted", {"step": "done"})
    assert ledger.turns.open() is None
    assert [(t.id, t.outcome, t.state) for t in ledger.turns.newest()] == [(turn.id, "promoted", {"step": "done"})]
    with pytest.raises(NotFound):
        ledger.turns.save(turn.id, {})


def test_the_steward_can_be_paused_and_remembers(ledger: Ledger) -> None:
    assert (ledger.turns.paused(), ledger.turns.memory()) == (False, {})
    ledger.turns.pause(True)
    ledger.turns.remember({"feedback_seq": 7})
    assert (ledger.turns.paused(), ledger.turns.memory()) == (True, {"feedback_seq": 7})
    ledger.turns.pause(False)
    told = [(one.by, one.kind, one.turn) for one in ledger.decisions.newest()]
    assert told == [("command", "resume", ""), ("command", "pause", "")]
