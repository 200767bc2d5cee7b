"""What releases leave: indices, models, data sets, reports, references, logs, runs of training. On a real ledger and
store: what goes, what stays, kills at every step, and releases that return."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kaizen import waste
from kaizen.collect import LOG_DAYS
from kaizen.errors import NotFound, StorageFull
from kaizen.indexing.generation import GenerationStore
from kaizen.learning.dataset import read_dataset
from kaizen.monitoring.reference import reference_name
from kaizen.records import Candidate, Dataset, Verdict
from kaizen.retrieval.view import View
from kaizen.steward.state import Material, TurnState
from kaizen.storage.object_store import holds
from tests.unit.collect.place import HOUR, Killed, Place, Store, index, sealed
from tests.unit.indexing.no_ledger import NoLedger

BEGUN = TurnState(turn="", stable="r1", until_impression=0, until_feedback=0)


def test_the_index_of_a_retired_release_goes_and_no_other(place: Place) -> None:
    before = place.objects()
    first = place.after(25)
    assert (first.gone, first.waiting, place.objects()) == ((), (index(place.retired),), before)
    assert place.after(48).gone == ()
    would = place.after(50, dry_run=True)
    assert (would.gone, place.objects()) == ((index(place.retired),), before)
    assert place.after(50) == would
    assert would.freed_bytes > 1000
    assert place.objects() == [name for name in before if not name.startswith(index(place.retired))]
    assert place.shard(place.retired).load().view.seq == 0
    assert place.shard(place.stable).load().view.seq == 2
    assert place.after(100).gone == ()


def full_until_something_goes(place: Place) -> Store:
    """Its store, where nothing can be written before something was deleted."""
    gone = set[str]()

    def refuse(_count: int, verb: str) -> None:
        gone.update({verb} - {"write_pointer", "put_directory"})
        if not gone:
            raise StorageFull("There is no room.")

    return Store(place.workspace.store, refuse)


def test_on_a_full_disk_what_is_due_goes_before_anything_is_written(place: Place) -> None:
    place.after(25)
    place.promote(place.workspace.ledger.releases.record({"index": {"fingerprint": "d" * 64}}))
    done = place.after(50, full_until_something_goes(place))
    assert done.gone == (index(place.retired),)
    (found,) = done.waiting  # for the first time, on that full disk: it was remembered then
    assert place.after(75).gone == (found,)


def test_on_a_full_disk_where_nothing_is_due_yet_runs_of_training_go_and_it_says_so(place: Place) -> None:
    run = place.workspace.settings.workspace.directory / "train" / "rung3-old"
    run.mkdir(parents=True)
    with pytest.raises(StorageFull):
        place.after(25, full_until_something_goes(place))
    assert not run.exists()
    assert place.after(50).gone == ()  # nothing was remembered


def test_a_release_that_was_made_today_keeps_its_index(place: Place) -> None:
    assert place.after(23).waiting == ()


def test_kills_leave_the_index_whole_or_nothing_that_anybody_reads(place: Place) -> None:
    place.after(25)
    view, kills = place.shard(place.retired).load().view, 0
    while True:

        def kill(count: int, _verb: str, last: int = kills) -> None:
            if count == last:
                raise Killed

        try:
            done = place.after(50, Store(place.workspace.store, kill))
        except Killed:
            kills += 1
            loaded = place.shard(place.retired).load()
            assert (loaded.view.seq, loaded.refused) in [(view.seq, ()), (0, ())]
        else:
            break
    assert done.gone == (index(place.retired),)
    assert kills > 3
    assert not [name for name in place.objects() if name.startswith(index(place.retired))]


def test_a_release_that_comes_back_before_its_index_goes_has_all_of_it(place: Place) -> None:
    place.after(25)
    before = place.objects()

    def back(count: int, verb: str) -> None:
        if verb == "delete" and count == 1:  # after what was seen was written, before the first pointer goes
            place.promote(place.retired)

    done = place.after(50, Store(place.workspace.store, back))
    assert (done.gone, done.waiting) == ((), (index(place.retired),))
    assert place.objects() == before
    assert place.shard(place.retired).load().view.seq == 2
    assert index(place.retired) not in place.after(51).waiting


def test_a_release_that_comes_back_while_its_index_goes_is_whole_when_it_seals(place: Place) -> None:
    """A shard that had opened the index goes on with what it mapped, and puts into the store what was taken."""
    place.after(25)
    opened = place.shard(place.retired).load().view
    assert place.after(50).gone == (index(place.retired),)
    place.promote(place.retired)
    fresh = sealed(3, "d3").segments[0]
    place.shard(place.retired).save(View(3, (*opened.segments, fresh)), fresh.segment)
    loaded = place.shard(place.retired).load()
    assert (loaded.view.seq, loaded.view.documents(), loaded.refused) == (3, 2, ())


def test_what_a_kill_left_beside_a_living_generation_goes(place: Place) -> None:
    shard, store = place.shard(place.stable), place.workspace.store
    left = sealed(3, "d3")

    def kill(count: int, verb: str) -> None:
        if verb == "write_pointer":
            raise Killed

    dying = GenerationStore(Store(store, kill), shard.prefix, NoLedger())  # type: ignore[arg-type]
    with pytest.raises(Killed):
        dying.save(left, left.segments[0].segment)
    orphans = set(place.objects()) - (shard.in_use() or set())
    mine = sorted(name for name in orphans if name.startswith(shard.prefix))
    assert len(mine) == 2
    assert place.after(25).waiting == (index(place.retired), *mine)
    assert place.after(50).gone == (index(place.retired), *mine)
    assert shard.load().view.seq == 2


def learnt(place: Place, name: str, verdict: Verdict | None) -> Candidate:
    """A candidate beside the stable release, whose ranker and data set are in the store."""
    store, ledger = place.workspace.store, place.workspace.ledger
    ranker, dataset = f"models/ranker-{name * 12}", f"datasets/{name * 16}"
    folder = place.workspace.settings.workspace.directory / "made"
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text(name)
    store.put_directory(ranker, folder)
    store.put_directory(dataset, folder)
    ledger.datasets.record(Dataset(id=name * 16, at=place.now, artifact=dataset, record={}))
    release = ledger.releases.record({**place.stable.parts, "ranker": {"artifact": ranker}}, parent=place.stable.id)
    made = Candidate(release=release.id, at=place.now, rung=1, turn="", record={"dataset": name * 16})
    ledger.candidates.record(made)
    return ledger.candidates.judge(release.id, verdict=verdict, reason="", report="") if verdict else made


def names(place: Place, folder: str) -> list[str]:
    return [name.rpartition("/")[2][-1] for name in place.objects() if name.startswith(folder)]


def test_models_of_what_was_rejected_go_and_their_record_stays(place: Place) -> None:
    rejected, hopeful = learnt(place, "a", "reject"), learnt(place, "b", "keep_testing")
    store = place.workspace.store
    store.put_bytes(f"reports/{rejected.release}/report.json", b"{}")
    assert place.after(23).waiting == ()  # made today
    assert place.after(25).waiting == (index(place.retired), "models/ranker-aaaaaaaaaaaa")
    assert place.after(50).gone == (index(place.retired), "models/ranker-aaaaaaaaaaaa")
    assert (names(place, "models/"), names(place, "datasets/")) == (["b"], ["a", "b"])
    assert {one.release for one in place.workspace.ledger.candidates.list()} == {hopeful.release, rejected.release}
    assert store.get_bytes(f"reports/{rejected.release}/report.json") == b"{}"
    again = learnt(place, "a", "reject")  # somebody learns the same once more, and has it whole
    assert (again.release, names(place, "models/")) == (rejected.release, ["a", "b"])


def test_reports_go_but_for_the_newest_and_what_verdict_or_decision_names(place: Place) -> None:
    ledger, release = place.workspace.ledger, learnt(place, "a", None).release
    reports = [f"reports/{release}/report_{number:026d}" for number in range(24)]
    for report in reports:
        place.workspace.store.put_bytes(f"{report}/report.json", b"{}")
    ledger.candidates.judge(release, verdict="reject", reason="", report=reports[1])
    ledger.decisions.record(by="steward", kind="reject", reason="", evidence={"report": reports[2]})
    assert place.after(1).waiting == (f"{reports[0]}/report.json", f"{reports[3]}/report.json")
    assert place.after(26).gone[-2:] == (f"{reports[0]}/report.json", f"{reports[3]}/report.json")
    assert [name.rpartition("/")[0] for name in place.objects() if name.startswith("reports/")] == [
        *reports[1:3], *reports[4:],
    ]  # fmt: skip


def test_models_go_while_users_try_a_candidate_but_not_while_a_turn_learns(place: Place) -> None:
    learnt(place, "a", "reject")
    ledger = place.workspace.ledger
    place.after(25)
    turn = ledger.turns.start("clicks", replace(BEGUN, phase="learn").to_json())
    assert "models/ranker-aaaaaaaaaaaa" in place.after(50).waiting
    assert names(place, "models/") == ["a"]
    ledger.turns.save(turn.id, replace(BEGUN, phase="test").to_json())
    assert "models/ranker-aaaaaaaaaaaa" in place.after(51).gone


def test_a_model_that_a_release_comes_to_need_meanwhile_stays(place: Place) -> None:
    rejected = learnt(place, "a", "reject")
    place.after(25)

    def back(_count: int, verb: str) -> None:
        if verb == "write_pointer":  # what was seen is written, nothing is gone yet
            place.promote(place.workspace.ledger.releases.get(rejected.release))

    assert "models/ranker-aaaaaaaaaaaa" not in place.after(50, Store(place.workspace.store, back)).gone
    assert names(place, "models/") == ["a"]


def test_data_sets_beyond_the_newest_go_and_say_so_when_they_are_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waste, "NEWEST_DATASETS", 1)
    learnt(place, "a", "reject")
    place.now += 1
    learnt(place, "b", "reject")
    ledger, material = place.workspace.ledger, Material(dataset="a" * 16, examples=1, queries=1, demonstrations=0)
    turn = ledger.turns.start("clicks", replace(BEGUN, phase="test", material=material).to_json())
    assert "datasets/aaaaaaaaaaaaaaaa" not in place.after(25).waiting
    ledger.turns.finish(turn.id, "rejected", turn.state)
    assert "datasets/aaaaaaaaaaaaaaaa" in place.after(26).waiting
    assert "datasets/aaaaaaaaaaaaaaaa" in place.after(51).gone
    assert names(place, "datasets/") == ["b"]
    with pytest.raises(NotFound, match="not in the object store any more"):
        read_dataset(place.workspace.store, "datasets/aaaaaaaaaaaaaaaa")


def test_references_of_drift_go_with_their_release(place: Place, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "record.json").write_text("{}")
    mine, others = (reference_name(release.id, 0, 1000) for release in (place.stable, place.retired))
    for name in (mine, others):
        place.workspace.store.put_directory(name, tmp_path / "one")
    place.after(25)
    assert others in place.after(50).gone
    assert holds(place.workspace.store, mine)


def test_logs_of_steps_go_after_a_month(place: Place) -> None:
    folder = place.workspace.settings.workspace.directory / "steward"
    folder.mkdir()
    for name in ("0-jobs.curate.log", "1-jobs.judge.log", "kaizen.toml"):
        (folder / name).write_text("so")
    os.utime(folder / "1-jobs.judge.log", (place.now + 10 * HOUR,) * 2)
    month = LOG_DAYS * 24
    assert place.after(month - 1).logs == ()
    assert place.after(month + 1, dry_run=True).logs == ("0-jobs.curate.log",)
    assert place.after(month + 1).logs == ("0-jobs.curate.log",)
    assert sorted(path.name for path in folder.iterdir()) == ["1-jobs.judge.log", "kaizen.toml"]


def test_runs_of_training_that_were_given_up_go(place: Place) -> None:
    folder = place.workspace.settings.workspace.directory / "train"
    for name in ("rung3-old", "rung3-new", ".leaving-rung4"):
        (folder / name / "checkpoint").mkdir(parents=True)
        (folder / name / "checkpoint" / "state").write_text("")
    os.utime(folder / "rung3-new" / "checkpoint" / "state", (place.now + 10 * HOUR,) * 2)
    turn = place.workspace.ledger.turns.start("clicks", BEGUN.to_json())
    assert place.after(25).checkpoints == ()
    place.workspace.ledger.turns.finish(turn.id, "failed", turn.state)
    assert place.after(25, dry_run=True).checkpoints == (".leaving-rung4", "rung3-old")
    assert place.after(25).checkpoints == (".leaving-rung4", "rung3-old")
    assert [path.name for path in folder.iterdir()] == ["rung3-new"]
