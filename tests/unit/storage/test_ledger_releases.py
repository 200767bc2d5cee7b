"""Releases, the rollout, ingest runs and quarantine, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import pytest

from kaizen import rollout
from kaizen.errors import Conflict, KaizenError, NotFound
from kaizen.ids import fingerprint
from kaizen.records import Quarantined, Rollout
from kaizen.storage.ledger import Ledger
from tests.unit.storage.examples import TENANT, impression

PARTS: dict[str, dict[str, Any]] = {"embedder": {"fingerprint": "e1", "dim": 384}, "prompt": {"fingerprint": "p1"}}


def test_releases_are_numbered_and_recorded_once(ledger: Ledger) -> None:
    first = ledger.releases.record(PARTS)
    second = ledger.releases.record({**PARTS, "prompt": {"fingerprint": "p2"}}, parent=first.id)
    assert ledger.releases.record(PARTS, parent=second.id) == first
    assert (first.number, first.id, first.parts) == (1, f"r1-{fingerprint(PARTS)[:8]}", PARTS)
    assert (second.number, second.parent) == (2, first.id)
    assert ledger.releases.list() == [second, first]
    assert ledger.releases.get(second.id) == second
    with pytest.raises(NotFound):
        ledger.releases.get("r3-00000000")
    with pytest.raises(NotFound):
        ledger.releases.record({}, parent="r3-00000000")


def test_of_many_who_change_the_rollout_at_once_one_wins(ledger: Ledger) -> None:
    releases = [ledger.releases.record({"prompt": {"fingerprint": str(n)}}) for n in range(8)]
    assert (ledger.rollout.current(), ledger.rollout.state()) == (None, Rollout(version=0, stable=None))

    def change(release_id: str) -> Rollout | KaizenError:
        try:
            return ledger.rollout.change(
                Rollout(version=0, stable=release_id), by="test", kind="set", reason=release_id
            )
        except KaizenError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(change, [release.id for release in releases]))
    won = [outcome for outcome in outcomes if isinstance(outcome, Rollout)]
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 7
    assert won == [ledger.rollout.state()]
    assert ledger.rollout.current() == won[0].stable
    assert [(d.kind, d.reason, d.evidence["rollout_version"]) for d in ledger.decisions.newest()] == [
        ("set", won[0].stable, 1)
    ]
    with pytest.raises(NotFound):
        ledger.rollout.change(Rollout(version=1, stable="r9-00000000"), by="test", kind="set", reason="")


def test_a_challenger_is_stored_with_where_its_test_begins(ledger: Ledger) -> None:
    stable, challenger = (ledger.releases.record({"prompt": {"fingerprint": name}}).id for name in ("a", "b"))
    ledger.rollout.change(Rollout(version=0, stable=stable), by="test", kind="set", reason="")
    ledger.impressions.record(impression("imp_1"))
    wanted, before = (
        Rollout(version=1, stable=stable, challenger=challenger, mode="ab", weight=0.5),
        ledger.rollout.state(),
    )
    stored = ledger.rollout.change(wanted, by="test", kind="begin", reason="to see", evidence={"n": 1})
    assert stored == ledger.rollout.state()
    assert stored == replace(wanted, version=2, since_impression=1, at=stored.at)
    assert stored.releases == (stable, challenger)
    decision = ledger.decisions.newest(1)[0]
    rows = {"before": asdict(before), "after": asdict(stored)}
    assert (decision.release, decision.evidence) == (
        challenger,
        {"n": 1, "rollout_version": 2, "since": [1, 0], **rows},
    )
    assert ledger.decisions.get(decision.seq) == decision


def test_each_change_names_its_release_and_tells_what_was_before_and_after(ledger: Ledger) -> None:
    first, second = (ledger.releases.record({"prompt": {"fingerprint": name}}).id for name in ("a", "b"))

    def change(kind: str, step: Callable[[Rollout], Rollout]) -> None:
        ledger.rollout.change(step(ledger.rollout.state()), by="k", kind=kind, reason="")

    change("configure", lambda row: rollout.promote(row, first))
    change("begin", lambda row: rollout.begin(row, second, "canary", 0.05))
    change("adjust", lambda row: rollout.adjust(row, "ab", 0.9))
    change("stop", rollout.stop)
    change("promote", lambda row: rollout.promote(row, second))
    change("rollback", rollout.rollback)
    change("retire", rollout.retire)
    told = [
        (
            one.kind,
            one.release,
            *((one.evidence[row]["mode"], one.evidence[row]["weight"]) for row in ("before", "after")),
        )
        for one in reversed(ledger.decisions.newest())
    ]
    off, canary, ab = ("off", 0.0), ("canary", 0.05), ("ab", 0.9)
    assert told == [
        ("configure", first, off, off), ("begin", second, off, canary), ("adjust", second, canary, ab),
        ("stop", second, ab, off), ("promote", second, off, off), ("rollback", first, off, off),
        ("retire", second, off, off),
    ]  # fmt: skip
    assert [one.kind for one in ledger.decisions.switches()] == ["rollback", "promote", "configure"]


def test_the_decisions_that_made_a_release_stable_are_found_among_any_number_of_others(ledger: Ledger) -> None:
    name = ledger.releases.record(PARTS).id
    assert ledger.decisions.switches() == []
    for version, kind in enumerate(("configure", "promote", "begin", "stop", "retire")):
        wanted = Rollout(version=version, stable=name)
        ledger.rollout.change(wanted, by="k", kind=kind, reason="", evidence={"seen": version})
        evidence = {"note": '"rollout_version":1', "seen": version}
        ledger.decisions.record(by="steward", kind="promote", reason="The judge's.", evidence=evidence)
    (made,) = ledger.decisions.switches(1)
    told = {"seen": 1, "rollout_version": 2, "since": [0, 0]}
    assert (made.kind, {**made.evidence, **told}) == ("promote", made.evidence)
    assert [each.kind for each in ledger.decisions.switches()] == ["promote", "configure"]


def test_decisions_of_some_kinds_are_found_behind_any_number_of_others(ledger: Ledger) -> None:
    for kind in ("promote", "reject", "rollback", "reject", "keep", "reject"):
        ledger.decisions.record(by="k", kind=kind, turn=f"of {kind}", reason="", evidence={})
    newest = ledger.decisions.newest
    assert [one.kind for one in newest(2, kinds=("promote", "rollback"))] == ["rollback", "promote"]
    assert [one.kind for one in newest(1, kinds=("promote", "rollback"))] == ["rollback"]
    assert newest(9, turn="of reject", kinds=("promote",)) == newest(9, kinds=()) == []
    assert len(newest(9)) == 6


def test_a_run_tells_what_it_did_and_what_it_cost(ledger: Ledger) -> None:
    killed = ledger.runs.begin(TENANT, ["a"])
    done = ledger.runs.begin(TENANT, ["a", "b"])
    ledger.runs.finish(done, counts={"documents": 3, "chunks": 9}, cpu_seconds=1.25)
    ledger.runs.begin("elsewhere", ["c"])
    newest, oldest = ledger.runs.list(TENANT)
    assert ledger.runs.newest(2)[1] == newest
    assert (newest.id, newest.sources, newest.counts, newest.cpu_seconds) == (
        done,
        ("a", "b"),
        {"documents": 3, "chunks": 9},
        1.25,
    )
    assert newest.finished is not None
    assert newest.finished >= newest.started
    assert (oldest.id, oldest.finished, oldest.counts, oldest.cpu_seconds) == (killed, None, {}, None)
    assert ledger.runs.get(done) == newest
    assert ledger.runs.list("other") == []
    with pytest.raises(NotFound):
        ledger.runs.finish("run_x", counts={}, cpu_seconds=0)


def test_a_document_leaves_quarantine_when_it_succeeds(ledger: Ledger) -> None:
    bad = [Quarantined(tenant=TENANT, source="s", document_id=f"d{n}", reason="not UTF-8 \0", at=1.0) for n in range(3)]
    ledger.quarantine.add_many(bad)
    ledger.quarantine.add_many([])
    again = Quarantined(tenant=TENANT, source="s", document_id="d1", reason="empty", at=2.0)
    ledger.quarantine.add_many([again])
    ledger.quarantine.clear(TENANT, "s", ["d0", "never"])
    ledger.quarantine.clear(TENANT, "another source", ["d2"])
    assert ledger.quarantine.list(TENANT) == [again, bad[2]]
    assert (ledger.quarantine.list(TENANT, limit=1), ledger.quarantine.count(TENANT)) == ([again], 2)
    assert ledger.quarantine.list("other") == []
    ledger.quarantine.settle(TENANT, "another source", lambda _: False)
    ledger.quarantine.settle(TENANT, "s", lambda document_id: document_id == "d2")
    assert ledger.quarantine.list(TENANT) == [bad[2]]
