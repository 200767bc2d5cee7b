"""An index through upserts, batches, deletes, merges, seals and crashes; and that this would see what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from kaizen.indexing import generation
from kaizen.indexing.feed import Feed
from kaizen.records import Change, Document
from kaizen.retrieval import query, view
from kaizen.retrieval.segment import Segment
from kaizen.retrieval.shard import Shard
from kaizen.retrieval.view import LiveSegment, View
from kaizen.storage.ledger import superseded
from tests.unit.indexing.shard_life import ShardLife

Sabotage = Callable[[pytest.MonkeyPatch], None]
LIMITS = settings(deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=30, max_examples=12)


@pytest.fixture(scope="module", autouse=True)
def migrated(migrated_sqlite: Path) -> None:
    ShardLife.migrated = migrated_sqlite


def test_the_life_of_an_index() -> None:
    run_state_machine_as_test(ShardLife, settings=LIMITS)


def _a_merge_forgets_deletes_that_came_meanwhile(patch: pytest.MonkeyPatch) -> None:
    def exchange(self: View, old: list[LiveSegment], merged: Segment | None, *, sealed: bool) -> View:
        kept = tuple(live for live in self.segments if live.segment.name not in {o.segment.name for o in old})
        fresh = () if merged is None else (LiveSegment(merged, np.ones(merged.rows, bool), sealed),)
        return View(self.seq, (*fresh, *kept))

    patch.setattr(View, "exchange", exchange)


def _a_generation_forgets_its_tombstones(patch: pytest.MonkeyPatch) -> None:
    load = generation.GenerationStore._load_segment

    def whole(
        self: generation.GenerationStore, directory: Path, name: str, known: Mapping[str, Segment]
    ) -> LiveSegment:
        live = load(self, directory, name, known)
        return LiveSegment(live.segment, np.ones_like(live.alive), sealed=True)

    patch.setattr(generation.GenerationStore, "_load_segment", whole)


def _a_filter_is_applied_after_the_search(patch: pytest.MonkeyPatch) -> None:
    of = query._Scope.of.__func__

    def late(cls: type, live: LiveSegment, asked: query.ShardQuery) -> object:
        scope = of(cls, live, asked)
        return cls(scope.segment, scope.visible, scope.visible.mask)

    patch.setattr(query._Scope, "of", classmethod(late))


def _a_sealed_segment_keeps_what_was_replaced(patch: pytest.MonkeyPatch) -> None:
    bury = view._bury
    patch.setattr(view, "_bury", lambda live, keys: live if live.sealed else bury(live, keys))


def _a_batch_replaces_nothing(patch: pytest.MonkeyPatch) -> None:
    read = Feed._from_batch
    patch.setattr(Feed, "_from_batch", lambda self, change: ((), read(self, change)[1]))


def _a_copy_that_adopts_forgets_what_came_since(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shard, "_remember", lambda self, changes: None)


def _what_is_current_is_collected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(superseded, "ids_at", lambda connection, seq: frozenset())


def _a_batch_that_was_collected_meanwhile_stops_a_shard(patch: pytest.MonkeyPatch) -> None:
    def stopped(_: Feed, _change: Change, error: Exception) -> Change:
        raise error

    patch.setattr(Feed, "_led_elsewhere", stopped)


def _a_generation_does_not_say_what_may_have_emptied_it(patch: pytest.MonkeyPatch) -> None:
    origin = generation.GenerationStore._origin
    patch.setattr(generation.GenerationStore, "_origin", lambda self, view: replace(origin(self, view), head=0))


BROKEN = [
    _a_generation_does_not_say_what_may_have_emptied_it,
    _what_is_current_is_collected,
    _a_batch_that_was_collected_meanwhile_stops_a_shard,
    _a_copy_that_adopts_forgets_what_came_since,
    _a_merge_forgets_deletes_that_came_meanwhile,
    _a_sealed_segment_keeps_what_was_replaced,
    _a_generation_forgets_its_tombstones,
    _a_batch_replaces_nothing,
    _a_filter_is_applied_after_the_search,
]


def test_a_short_life_without_fault() -> None:
    _a_short_life()


@pytest.mark.parametrize("sabotage", BROKEN, ids=lambda sabotage: sabotage.__name__.strip("_"))
def test_a_short_life_shows_what_goes_wrong(monkeypatch: pytest.MonkeyPatch, sabotage: Sabotage) -> None:
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        _a_short_life()


def _a_short_life() -> None:
    one, other = (Document(tenant="acme", id=f"d{i}", title="", text="pump", metadata={"year": 2022}) for i in (1, 2))
    many = [replace(one, id=f"d{i}") for i in range(3, 40)]
    again = replace(one, text="valve", metadata={"draft": True})
    recent = ({"field": "year", "equals": 2022}, lambda document: document.metadata.get("year") == 2022)
    life = ShardLife()
    found = partial(life.search, condition=recent, mode="dense", words=["pump"], k=60, tenant="acme", groups=())
    steps: list[Callable[[], object]] = [
        life.start,
        partial(life.ingest, tenant="acme", documents=[one, other, *many], same=True),
        partial(life.follow, only=None),
        partial(life.maintain, seconds=200.0, document=again, dies=False),  # replaced while it is being sealed
        partial(life.adopt, number=0),
        partial(life.adopt, number=1),
        partial(life.ingest, tenant="acme", documents=[again, other], same=True),
        partial(life.follow, only=None),
        partial(found, other=False),
        partial(found, other=True),
        partial(life.delete, document=other),
        partial(life.follow, only=None),
        partial(life.maintain, seconds=200.0, document=None, dies=False),
        partial(life.upsert, document=replace(again, text="belt")),
        partial(life.follow, only=None),
        partial(life.maintain, seconds=200.0, document=None, dies=False),  # too few died for it to be rewritten
        life.crash,
        partial(life.ingest, tenant="acme", documents=[one, other], same=True),
        partial(life.ingest, tenant="acme", documents=[replace(other, text="gear")], same=True),
        partial(life.collect_while_one_reads, only=0),
        partial(life.collect_while_one_reads, only=1),
        partial(life.delete, document=one),
        partial(life.upsert, document=replace(other, text="pump")),
        life.collect,
        life.build_anew,
        partial(life.follow, only=None),
        life.crash,
        partial(life.upsert, document=one),
        partial(life.ingest, tenant="acme", documents=[other], same=True),
        life.back_up,
        partial(life.delete, document=one),
        life.collect,
        partial(life.follow, only=None),  # up to the batch: the document is gone, and its end not read yet
        partial(life.maintain, seconds=200.0, document=None, dies=False),
        life.restore,
    ]
    try:
        for step in steps:
            step()
            life.time_runs_forward()
            life.holds_exactly_what_is_true()
    finally:
        life.teardown()
