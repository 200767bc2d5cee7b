"""What nobody needs any more: decided from what the ledger says and the store holds, and nothing at first sight."""

from __future__ import annotations

import pytest

from kaizen.ids import made_at, new_id
from kaizen.records import Candidate, Release, Rollout, Verdict
from kaizen.waste import Needs, due, needed_indices, shards_of, unneeded

ID = "g_01jzzzzzzz0000000000000000"
MADE = made_at(ID)
OLD, LIVING = "index/aaaaaaaaaaaa", "index/bbbbbbbbbbbb"
CURRENT, ORPHAN = f"{LIVING}/shard-000/generations/000000000007-{ID}", f"{LIVING}/shard-000/segments/seg_{ID[2:]}"
RECORDED, KILLED = f"batches/batch_{ID[2:]}", f"batches/batch_{ID[2:-1]}1"
NAMES = [
    f"{OLD}/shard-000/generations/000000000003-{ID}", f"{OLD}/shard-001/segments/seg_{ID[2:]}", CURRENT, ORPHAN,
    RECORDED, KILLED, "models/embedder-0123", "batches/by-hand", "sweeps/one/plan.json",
]  # fmt: skip
NEEDS = Needs(indices={LIVING[6:]}, batches={RECORDED}, in_use={f"{LIVING}/shard-000": {CURRENT}})


def release(number: int, index: str, at: float = 0.0) -> Release:
    parts = {"index": {"fingerprint": index * 64}}
    return Release(id=f"r{number}", number=number, at=at, fingerprint="", parts=parts, parent=None)


def candidate(number: int, verdict: Verdict | None) -> Candidate:
    return Candidate(release=f"r{number}", at=0, rung=3, turn="", record={}, verdict=verdict)


RELEASES = [release(number, index) for number, index in enumerate("abcdefg", start=1)]


def indices(rollout: Rollout, candidates: list[Candidate], tried: set[str], after: float = 1.0) -> str:
    found = needed_indices(rollout, RELEASES, candidates, tried, after=after)
    assert all(len(name) == 12 for name in found)
    return "".join(sorted(name[0] for name in found))


def test_an_id_tells_when_it_was_made() -> None:
    assert made_at(new_id("g")) == pytest.approx(made_at(f"000000000012-{new_id('g')}"), abs=5)
    with pytest.raises(ValueError, match="substring"):
        made_at("batches/by-hand")


def test_what_is_of_no_use() -> None:
    assert unneeded(NAMES, NEEDS, before=MADE + 1) == [KILLED, OLD, ORPHAN]


def test_what_was_made_a_moment_ago_may_be_in_hand() -> None:
    assert unneeded(NAMES, NEEDS, before=MADE) == [OLD]


def test_a_shard_whose_pointer_cannot_be_read_keeps_everything() -> None:
    unknown = Needs(indices=NEEDS.indices, batches=NEEDS.batches, in_use={f"{LIVING}/shard-000": None})
    assert unneeded(NAMES, unknown, before=MADE + 1) == [KILLED, OLD]
    assert shards_of(NAMES) == [f"{OLD}/shard-000", f"{OLD}/shard-001", f"{LIVING}/shard-000"]


def test_releases_in_the_rollout_and_of_the_open_turn_keep_their_index() -> None:
    rollout = Rollout(version=1, stable="r5", challenger="r6", mode="shadow", weight=1, previous="r4")
    assert indices(rollout, [], set()) == "def"
    assert indices(rollout, [], {"r1", ""}) == "adef"


def test_a_candidate_that_may_yet_come_keeps_its_index() -> None:
    hopeful = [candidate(1, None), candidate(4, "promote"), candidate(5, None), candidate(6, "reject")]
    assert indices(Rollout(version=1, stable="r3"), hopeful, set()) == "cde"


def test_a_release_that_was_just_recorded_keeps_its_index() -> None:
    assert indices(Rollout(version=1, stable=None), [], set(), after=-1.0) == "abcdefg"


def test_nothing_goes_before_it_was_of_no_use_for_long_enough() -> None:
    going, since = due(["a", "b"], {}, now=100, age=10)
    assert (going, since) == ([], {"a": 100, "b": 100})
    going, since = due(["b", "c"], since, now=110, age=10)  # somebody needed a again: it begins anew
    assert (going, since) == (["b"], {"b": 100, "c": 110})
    going, since = due(["a", "c"], since, now=119, age=10)
    assert (going, since) == ([], {"a": 119, "c": 110})


def test_a_clock_that_was_set_back_makes_nothing_older() -> None:
    assert due(["a"], {"a": 500}, now=100, age=10) == ([], {"a": 100})
