"""What nobody needs any more: decided from what the ledger says and the store holds, and nothing at first sight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaizen.ids import made_at, new_id
from kaizen.records import Candidate, Dataset, Release, Rollout, Verdict
from kaizen.waste import (
    NEWEST_CANDIDATES,
    NEWEST_DATASETS,
    Known,
    Needs,
    due,
    needed_datasets,
    needed_indices,
    needed_models,
    shards_of,
    unneeded,
)

ID = "g_01jzzzzzzz0000000000000000"
MADE = made_at(ID)
OLD, LIVING = "index/aaaaaaaaaaaa", "index/bbbbbbbbbbbb"
CURRENT, ORPHAN = f"{LIVING}/shard-000/generations/000000000007-{ID}", f"{LIVING}/shard-000/segments/seg_{ID[2:]}"
RECORDED, KILLED = f"batches/batch_{ID[2:]}", f"batches/batch_{ID[2:-1]}1"
USED_MODEL, IDLE_MODEL = "models/query-encoder-0123456789ab", "models/ranker-ba9876543210"
USED_DATASET, IDLE_DATASET = "datasets/0123456789abcdef", "datasets/fedcba9876543210"
REFERENCES = ["monitoring/reference-r9-01234567-0-1000", "monitoring/reference-r4-01234567-500-1500"]
KEPT = [
    "reports/r1-01234567/report.json",
    "sweeps/one/plan.json",
    "models/by-hand",
    "datasets/mine",
    "models/ranker-0/x",
]
NAMES = [
    f"{OLD}/shard-000/generations/000000000003-{ID}", f"{OLD}/shard-001/segments/seg_{ID[2:]}", CURRENT, ORPHAN,
    RECORDED, KILLED, "batches/by-hand", USED_MODEL, IDLE_MODEL, USED_DATASET, IDLE_DATASET, *REFERENCES, *KEPT,
]  # fmt: skip
NEEDS = Needs(
    indices={LIVING[6:]}, batches={RECORDED}, in_use={f"{LIVING}/shard-000": {CURRENT}},
    learnt={USED_MODEL, USED_DATASET}, watched=["r9-01234567"], reports=(),
)  # fmt: skip
IDLE = sorted([IDLE_MODEL, IDLE_DATASET, REFERENCES[1]])


def release(number: int, index: str, at: float = 0.0) -> Release:
    parts = {"index": {"fingerprint": index * 64}}
    return Release(id=f"r{number}", number=number, at=at, fingerprint="", parts=parts, parent=None)


def candidate(number: int, verdict: Verdict | None, dataset: str = "") -> Candidate:
    return Candidate(release=f"r{number}", at=0, rung=3, turn="", record={"dataset": dataset}, verdict=verdict)


RELEASES = [release(number, index) for number, index in enumerate("abcdefg", start=1)]


def indices(rollout: Rollout, candidates: list[Candidate], tried: set[str], after: float = 1.0) -> str:
    found = needed_indices(
        Known(
            rollout=rollout,
            releases=RELEASES,
            candidates=candidates,
            datasets=[],
            tried=tried,
            material="",
            after=after,
        )
    )
    assert all(len(name) == 12 for name in found)
    return "".join(sorted(name[0] for name in found))


def test_an_id_tells_when_it_was_made() -> None:
    assert made_at(new_id("g")) == pytest.approx(made_at(f"000000000012-{new_id('g')}"), abs=5)
    with pytest.raises(ValueError, match="substring"):
        made_at("batches/by-hand")


def test_what_is_of_no_use() -> None:
    assert unneeded(NAMES, NEEDS, before=MADE + 1) == sorted([KILLED, OLD, ORPHAN, *IDLE])


def test_reports_that_nothing_names_go_but_for_the_newest_of_a_release() -> None:
    reports = [f"reports/r1/report_{ID[2:-1]}{digit}" for digit in "0123456789abcdefghjkmnpq"]
    names = [f"{one}/report.{kind}" for one in reports for kind in ("html", "json")]
    named = replace(NEEDS, reports={reports[2]})
    old = [name for name in names[:8] if not name.startswith(reports[2])]
    others = [name.replace("r1", "r2") for name in names[:40]]
    assert unneeded([*names, *others], named, before=MADE + 1) == old
    assert unneeded(names, named, before=MADE) == []


def test_what_was_made_a_moment_ago_may_be_in_hand() -> None:
    assert unneeded(NAMES, NEEDS, before=MADE) == sorted(
        [OLD, *IDLE]
    )  # others tell no time: nothing goes at first sight


def test_a_shard_whose_pointer_cannot_be_read_keeps_everything() -> None:
    unknown = replace(NEEDS, in_use={f"{LIVING}/shard-000": None})
    assert unneeded(NAMES, unknown, before=MADE + 1) == sorted([KILLED, OLD, *IDLE])
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


def learnt(number: int, *, at: float = 0.0, **parts: Any) -> Release:  # noqa: ANN401 (as a release has them)
    """A release with a base's embedder and a query encoder of its own, whose parent is the release before it."""
    own = {
        "embedder": {"artifact": "models/embedder-base"},
        "query_encoder": {
            "artifact": f"models/query-encoder-{number}",
            "model": f"object:models/query-encoder-{number}/torch",
        },
    }
    parent = f"r{number - 1}" if number > 1 else None
    return Release(id=f"r{number}", number=number, at=at, fingerprint="", parts={**own, **parts}, parent=parent)


def known(releases: list[Release], candidates: list[Candidate], **changed: Any) -> Known:  # noqa: ANN401 (fields of Known)
    """What is known of them, the first of which is stable, and of as many data sets, the first being the newest."""
    datasets = [
        Dataset(id=f"d{number}", at=-number, artifact=f"datasets/d{number}", record={})
        for number in range(1, len(releases) + 1)
    ]
    stable = Rollout(version=1, stable="r1")
    as_ever = Known(
        rollout=stable, releases=releases, candidates=candidates, datasets=datasets, tried=(), material="", after=1.0
    )
    return replace(as_ever, **changed)


def numbers(names: frozenset[str]) -> list[int]:
    """Of the query encoders, or of the data sets, among these names."""
    return sorted(int(name.rpartition("-")[2].rpartition("d")[2]) for name in names if name[-1].isdigit())


def test_models_of_rejected_candidates_are_not_needed_unless_somebody_shares_them() -> None:
    shared = {"ranker": {"artifact": "models/ranker-2"}, "generator": {"model": "object:models/generator-7/torch"}}
    releases = [learnt(1), learnt(2, **shared), learnt(3), learnt(4, ranker=shared["ranker"])]
    tried = [candidate(2, "reject"), candidate(3, "reject"), candidate(4, "keep_testing")]
    assert sorted(needed_models(known(releases, tried))) == [
        "models/embedder-base", "models/query-encoder-1", "models/query-encoder-4", "models/ranker-2",
    ]  # fmt: skip
    rolled_back = known(releases, tried, rollout=Rollout(version=2, stable="r1", previous="r2"))
    assert "models/generator-7" in needed_models(rolled_back)
    assert numbers(needed_models(known(releases, tried, tried=("r3",)))) == [1, 2, 3, 4]
    assert numbers(needed_models(known(releases, tried, after=-1.0))) == [1, 2, 2, 3, 4, 7]


def test_models_stay_with_what_was_configured_and_the_newest_that_were_not_rejected() -> None:
    last = 3 + NEWEST_CANDIDATES
    releases = [learnt(number) for number in range(1, last + 1)]
    tried = [candidate(number, "keep_testing") for number in range(3, last + 1)]
    for stable in ("r1", f"r{last}"):
        found = needed_models(known(releases, tried, rollout=Rollout(version=9, stable=stable)))
        assert numbers(found) == [1, 2, *range(4, last + 1)]


def test_data_sets_stay_with_what_was_learnt_from_them_and_its_parents() -> None:
    last = NEWEST_DATASETS + 6
    releases = [learnt(number, at=-100.0) for number in range(1, last + 1)]
    tried = [candidate(number, "reject", f"d{last + 1 - number}") for number in range(2, last + 1)]
    stable = Rollout(version=9, stable="r3")  # its data set is the third from the end, that of its parent the second
    newest = list(range(1, NEWEST_DATASETS + 1))
    assert numbers(needed_datasets(known(releases, tried))) == newest
    assert numbers(needed_datasets(known(releases, tried, rollout=stable))) == [*newest, last - 2, last - 1]
    assert numbers(needed_datasets(known(releases, tried, material="d13"))) == [*newest, 13]
    assert numbers(needed_datasets(known(releases, tried, after=-12.5))) == [*newest, 11, 12]


def test_nothing_goes_before_it_was_of_no_use_for_long_enough() -> None:
    going, since = due(["a", "b"], {}, now=100, age=10, batch_age=50)
    assert (going, since) == ([], {"a": 100, "b": 100})
    going, since = due(["b", "c"], since, now=110, age=10, batch_age=50)  # somebody needed a again: it begins anew
    assert (going, since) == (["b"], {"b": 100, "c": 110})
    going, since = due(["a", "c"], since, now=119, age=10, batch_age=50)
    assert (going, since) == ([], {"a": 119, "c": 110})


def test_a_clock_that_was_set_back_makes_nothing_older() -> None:
    assert due(["a"], {"a": 500}, now=100, age=10, batch_age=50) == ([], {"a": 100})


def test_a_batch_stays_as_long_as_a_backup_of_the_ledger_may_be_old() -> None:
    seen = {"batches/b": 100.0, "datasets/d": 100.0}
    assert due(seen, seen, now=149, age=10, batch_age=50)[0] == ["datasets/d"]
    assert due(seen, seen, now=150, age=10, batch_age=50)[0] == ["batches/b", "datasets/d"]
