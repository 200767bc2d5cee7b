"""Collection on a real ledger and store: what goes, what stays, kills at every step, and releases that return."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from kaizen import waste
from kaizen.collect import LOG_DAYS, Collected, collect
from kaizen.config import Settings
from kaizen.errors import KaizenError, NotFound, StorageFull, Unavailable
from kaizen.indexing import thinning
from kaizen.indexing.batch import document_table, read_chunks, read_documents, write_batch
from kaizen.indexing.generation import GenerationStore
from kaizen.learning.dataset import read_dataset
from kaizen.monitoring.reference import reference_name
from kaizen.records import Candidate, Dataset, Document, Release, Verdict
from kaizen.retrieval.chunk_table import with_vectors
from kaizen.retrieval.view import LiveSegment, View
from kaizen.rollout import promote
from kaizen.steward.state import Material, TurnState
from kaizen.storage.ledger import Ledger, superseded
from kaizen.storage.ledger.documents import Documents
from kaizen.storage.ledger.superseded import ThinnedBatch
from kaizen.storage.object_store import ObjectStore, holds
from kaizen.workspace import Workspace, open_workspace
from tests.unit.indexing.no_ledger import NoLedger
from tests.unit.retrieval.rows import document, rows, segment

HOUR = 3600.0
BEGUN = TurnState(turn="", stable="r1", until_impression=0, until_feedback=0)
DOCUMENTS = [document("d0", "A pump. A valve"), document("d1", "A belt")]


class Killed(BaseException):
    """As kill -9: nothing after it is done."""


@dataclass(slots=True)
class Store:
    """The object store, with something that happens before one of the changes to it."""

    real: ObjectStore
    before: Callable[[int, str], None] = lambda _count, _verb: None
    changes: int = 0

    def __getattr__(self, verb: str) -> Any:  # noqa: ANN401 (whatever the store has)
        if verb not in ("delete", "write_pointer", "put_directory"):
            return getattr(self.real, verb)

        def change(*arguments: object) -> Any:  # noqa: ANN401
            self.before(self.changes, verb)
            self.changes += 1
            return getattr(self.real, verb)(*arguments)

        return change


@dataclass(slots=True)
class Place:
    """An installation whose release `retired` went out of service; its index and that of `stable` are in the store."""

    workspace: Workspace
    retired: Release
    stable: Release
    now: float = field(default_factory=time.time)

    def after(self, hours: float, store: Any = None, **options: bool) -> Collected:  # noqa: ANN401
        workspace = replace(self.workspace, store=store) if store else self.workspace
        return collect(workspace, self.now + hours * HOUR, **options)

    def shard(self, release: Release) -> GenerationStore:
        return GenerationStore(self.workspace.store, f"{index(release)}/shard-000", NoLedger())

    def promote(self, release: Release) -> None:
        state = self.workspace.ledger.rollout.state()
        self.workspace.ledger.rollout.change(promote(state, release.id), by="test", kind="promote", reason="")

    def objects(self) -> list[str]:
        return self.workspace.store.list()


def index(release: Release) -> str:
    return f"index/{release.parts['index']['fingerprint'][:12]}"


def sealed(seq: int, *names: str) -> View:
    made = [segment(document(name, "A pump. A valve")) for name in names]
    return View(seq, tuple(LiveSegment(one, np.ones(one.rows, bool), sealed=False) for one in made))


def opened(directory: Path) -> Workspace:
    return open_workspace(Settings.model_validate({"workspace": {"directory": directory}}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which three releases were stable in turn, each with an index of two generations."""
    directory = tmp_path_factory.mktemp("made") / "w"
    workspace = opened(directory)
    with workspace.ledger:
        for letter in "abc":
            release = workspace.ledger.releases.record({"index": {"fingerprint": letter * 64}})
            place = Place(workspace, release, release)
            place.promote(release)
            for seq in (1, 2):
                view = sealed(seq, f"d{seq}")
                place.shard(release).save(view, view.segments[0].segment)
    return directory


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(made, tmp_path / "w")
    workspace = opened(tmp_path / "w")
    with workspace.ledger:
        stable, _, retired = workspace.ledger.releases.list()
        yield Place(workspace, retired, stable)


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


def test_a_batch_that_nobody_recorded_goes_and_a_recorded_one_stays(place: Place) -> None:
    store, ledger = place.workspace.store, place.workspace.ledger
    others = [replace(one, id=f"other-{one.id}") for one in DOCUMENTS]
    recorded, killed, running = write(store), write(store), write(store, others)
    record(ledger, recorded)
    place.after(25)
    record(ledger, running, others)  # an ingest that took its time
    assert place.after(50).gone == (index(place.retired),)
    assert place.after(25 + 168).gone == (killed,)
    assert [holds(store, name) for name in (recorded, killed, running)] == [True, False, True]


def write(store: ObjectStore, documents: Sequence[Document] = DOCUMENTS) -> str:
    table, vectors = rows(*documents)
    return write_batch(store, document_table(documents), with_vectors(table, vectors), "m")


def record(ledger: Ledger, uri: str, documents: Sequence[Document] = DOCUMENTS) -> int:
    return ledger.documents.append_batch("acme", uri, [(d.id, d.content_sha256(), "") for d in documents], {})


def held(place: Place) -> dict[str, str]:
    """What a reader from the beginning finds in singles and batches, in order: id -> text."""
    found: dict[str, str] = {}
    for change in place.workspace.ledger.documents.changes_after(0):
        documents = [change.document] if change.document else []
        if change.batch_uri:
            documents = read_documents(place.workspace.store, change.batch_uri)
        found.update((one.id, one.text) for one in documents)
    return found


def batches(place: Place) -> list[str]:
    return place.workspace.store.list("batches")


def test_a_batch_goes_when_every_document_of_it_was_replaced_or_deleted(place: Place) -> None:
    ledger, uri = place.workspace.ledger, write(place.workspace.store)
    seq = record(ledger, uri)
    ledger.documents.upsert(replace(DOCUMENTS[0], text="A gear"))
    last = ledger.documents.delete("acme", "d1")
    marks = [ledger.documents.mark_of(seq) for seq in range(1, last + 1)]
    early = place.after(23)
    assert (uri in early.waiting, early.gone) == (True, ())
    would = place.after(25, dry_run=True)
    assert (uri in would.waiting, would.gone, would.rewritten) == (True, (), ())
    assert place.after(25) == would
    assert place.after(25 + 167).gone == (index(place.retired),)
    assert batches(place) == [uri]  # a ledger from a backup may lead there
    would = place.after(25 + 168, dry_run=True)
    assert (would.gone, batches(place)) == ((uri,), [uri])
    assert would.freed_bytes > 1000
    assert place.after(25 + 168) == would
    assert (batches(place), held(place)) == ([], {"d0": "A gear"})
    assert [ledger.documents.mark_of(seq) for seq in range(1, last + 1)] == marks
    assert record(ledger, uri) == seq  # recorded once more, it is known still


def test_a_batch_is_written_again_without_what_was_deleted(place: Place) -> None:
    ledger, uri = place.workspace.ledger, write(place.workspace.store)
    record(ledger, uri)
    ledger.documents.delete("acme", "d1")
    assert place.after(167).rewritten == ()
    would = place.after(169, dry_run=True)
    assert (would.rewritten, batches(place)) == ((uri,), [uri])
    done = place.after(169)
    assert (done.rewritten, done.waiting) == ((uri,), would.waiting)
    assert place.after(169 + 167).gone == (index(place.retired),)
    assert uri in place.after(169 + 168).gone
    (new,) = batches(place)
    chunks = read_chunks(place.workspace.store, new, "m")
    assert chunks is not None and set(chunks["document_id"].to_pylist()) == {"d0"}
    assert new != uri and held(place) == {"d0": DOCUMENTS[0].text}
    assert ledger.documents.get("acme", "d0")[0].batch_uri == new
    assert place.after(400).rewritten == ()
    ledger.documents.delete("acme", "d0")
    place.after(401)
    assert place.after(401 + 168).gone == (new,)
    assert (batches(place), held(place)) == ([], {})


def test_while_its_documents_are_replaced_one_by_one_two_of_a_batch_lie_in_the_store_at_most(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    many = [document(f"d{n}", "A pump") for n in range(40)]
    record(ledger, write(store, many), many)
    copies, rewritten = list[int](), 0
    for day in range(35):
        with patch.object(superseded.time, "time", lambda day=day: place.now + day * 24 * HOUR):
            ledger.documents.upsert(document(f"d{day}", "A valve"))
        rewritten += len(place.after(day * 24 + 1).rewritten)
        copies.append(len(batches(place)))
    assert (max(copies), rewritten) == (2, 4)


def test_kills_leave_every_document_that_is_current(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    rounds, over, stays = 0, False, dict[str, str]()
    while not over:
        gone, part = ([replace(one, id=f"{kind}{rounds}-{one.id}") for one in DOCUMENTS] for kind in ("gone", "part"))
        for documents in (gone, part):
            record(ledger, write(store, documents), documents)
        ledger.documents.delete_many("acme", [one.id for one in (*gone, part[1])])
        stays[part[0].id] = part[0].text

        def kill(count: int, _verb: str, last: int = rounds) -> None:
            if count == last:
                raise Killed

        try:
            dying = Store(store, kill)
            for hours in (25, 200, 400):  # it is written again, and the old one goes
                place.after(hours + rounds / 100, dying)
            over = True
        except Killed:
            rounds += 1
        assert {name: text for name, text in held(place).items() if name in stays} == stays
    assert rounds > 6
    for hours in (430, 460, 700):  # what a kill left goes as what nobody recorded does
        place.after(hours)
    assert (len(batches(place)), held(place)) == (len(stays), stays)


def test_a_document_that_goes_while_the_rest_is_written_goes_the_next_time(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    three = [*DOCUMENTS, document("d2", "A pump")]
    record(ledger, write(store, three), three)
    ledger.documents.delete("acme", "d1")
    before = DOCUMENTS[0].text

    def deleted(_count: int, verb: str) -> None:
        if verb == "put_directory":
            ledger.documents.delete("acme", "d2")

    assert len(place.after(169, Store(store, deleted)).rewritten) == 1
    assert held(place) == {"d0": before, "d2": "A pump"}
    assert len(place.after(170).rewritten) == 1
    assert held(place) == {"d0": before}


def test_what_was_collected_before_it_was_recorded_takes_nobodys_place(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    uri = write(store)
    record(ledger, uri)
    ledger.documents.delete("acme", "d1")
    lead = Documents.lead_elsewhere

    def late(documents: Documents, batch: ThinnedBatch, to: str, ids: frozenset[str]) -> bool:
        if to != uri:
            store.delete(to)
        return lead(documents, batch, to, ids)

    with patch.object(Documents, "lead_elsewhere", late):
        assert place.after(169).rewritten == ()
    assert (batches(place), held(place)["d0"]) == ([uri], DOCUMENTS[0].text)
    assert place.after(170).rewritten == (uri,)


@pytest.mark.parametrize("error", [StorageFull, Unavailable])
def test_a_batch_that_cannot_be_written_again_keeps_nothing_else_from_going(
    place: Place, error: type[KaizenError]
) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    uri = write(store)
    record(ledger, uri)
    ledger.documents.delete("acme", "d1")
    place.after(25)

    def full(_count: int, verb: str) -> None:
        if verb == "put_directory":
            raise error("Nothing can be written.")

    done = place.after(169, Store(store, full))
    assert (done.gone, done.rewritten, batches(place)) == ((index(place.retired),), (), [uri])
    assert place.after(170).rewritten == (uri,)


def test_a_look_reads_some_batches_the_oldest_first_and_lost_ones_hold_up_no_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinning, "AT_ONCE", 2)
    ledger, store = place.workspace.ledger, place.workspace.store
    parts = [[replace(one, id=f"{one.id}-{n}") for one in DOCUMENTS] for n in range(7)]
    uris = [write(store, part) for part in parts]
    for uri, part in zip(uris, parts, strict=True):
        record(ledger, uri, part)
    for part in (*parts[:3], *reversed(parts[3:])):
        ledger.documents.delete("acme", part[0].id)
    for uri in uris[:3]:
        store.delete(uri)
    looks = [place.after(169 + n).rewritten for n in range(3)]
    assert looks == [(uris[6], uris[5]), (uris[4], uris[3]), ()]


def test_a_batch_that_lacks_a_current_document_stays_as_it_is(place: Place) -> None:
    ledger, store = place.workspace.ledger, place.workspace.store
    uri = write(store)
    record(ledger, uri, [*DOCUMENTS, document("d2", "A pump")])
    ledger.documents.delete("acme", "d1")
    assert (place.after(169).gone, batches(place)) == ((), [uri])


def test_a_text_that_was_replaced_or_deleted_leaves_the_ledger_and_its_file(place: Place) -> None:
    ledger = place.workspace.ledger
    long = "zanzibar " * 5000  # more than a page of SQLite's
    for text in (long, long + "again", "A belt"):
        ledger.documents.upsert(document("d0", text))
    ledger.documents.upsert(document("d1", "quagga"))
    last = ledger.documents.delete("acme", "d1")
    marks = [ledger.documents.mark_of(seq) for seq in range(1, last + 1)]
    early = place.after(23)
    assert (early.texts, early.texts_waiting) == (0, 3)
    assert (place.after(25, dry_run=True).texts, held(place)["d1"]) == (3, "quagga")
    done = place.after(25)
    assert (done.texts, done.texts_waiting, place.after(26).texts) == (3, 0, 0)
    assert [ledger.documents.mark_of(seq) for seq in range(1, last + 1)] == marks
    assert held(place) == {"d0": "A belt"}
    changes = ledger.documents.changes_after(0)
    assert [(one.kind, one.document_id, one.document is None) for one in changes] == [
        ("upsert", "d0", True), ("upsert", "d0", True), ("upsert", "d0", False),
        ("upsert", "d1", True), ("delete", "d1", True),
    ]  # fmt: skip
    ledger.close()
    file = (place.workspace.settings.workspace.directory / "ledger.sqlite").read_bytes()
    assert (b"zanzibar" in file, b"quagga" in file, b"A belt" in file) == (False, False, True)


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


def test_old_idempotency_keys_go(place: Place) -> None:
    documents = place.workspace.ledger.documents
    first = [documents.upsert(replace(DOCUMENTS[0], text=str(n)), idempotency_key=str(n)) for n in range(3)]
    assert place.after(23).idempotency_keys == 0
    assert documents.upsert(replace(DOCUMENTS[0], text="0"), idempotency_key="0") == first[0]
    assert place.after(25, dry_run=True).idempotency_keys == 3
    assert place.after(25).idempotency_keys == 3
    assert documents.upsert(replace(DOCUMENTS[0], text="0"), idempotency_key="0") > first[-1]


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
